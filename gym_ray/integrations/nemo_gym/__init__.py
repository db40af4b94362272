"""NeMo Gym's resources servers, hosted unmodified: ``env=nemo_gym/NAME``.

``nemo_gym`` itself is imported only when such an environment is made.
"""

from gym_ray.integrations.nemo_gym.refined import Refined
from gym_ray.integrations.nemo_gym.server import NemoGym

__all__ = ["NemoGym", "Refined"]
