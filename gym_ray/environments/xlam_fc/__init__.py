"""Requests that take the right set of function calls."""

from gym_ray.environments.xlam_fc.server import XlamFc as XlamFc
