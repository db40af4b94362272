"""Questions where saying "I do not know" pays more than a wrong answer."""

from gym_ray.environments.abstention.server import Abstention as Abstention
