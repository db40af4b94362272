"""Multiple-choice questions, graded by the letter."""

from gym_ray.environments.mcqa.server import Mcqa as Mcqa
