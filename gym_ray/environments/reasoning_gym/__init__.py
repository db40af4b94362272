"""The tasks of the reasoning-gym package, graded by its own scorers."""

from gym_ray.environments.reasoning_gym.server import ReasoningGym as ReasoningGym
