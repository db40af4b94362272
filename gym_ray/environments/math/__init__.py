"""Mathematics with one checkable answer, graded by symbolic equality."""

from gym_ray.environments.math.server import Math as Math
