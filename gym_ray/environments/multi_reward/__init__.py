"""One function call, graded on three rewards that are kept apart."""

from gym_ray.environments.multi_reward.server import MultiReward as MultiReward
