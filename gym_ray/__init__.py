"""gym_ray: RL environments and rollout collection for LLM post-training, native to Ray.

The names an environment's author needs are here; importing them loads neither Ray, torch nor vLLM.
"""

from gym_ray.resources.gymnasium import GymnasiumServer, StepResult
from gym_ray.resources.server import ResourcesServer, tool
from gym_ray.types.outcome import Reward
from gym_ray.types.task import TaskRow
from gym_ray.types.trajectory import Trajectory

__version__ = "0.1.0"

__all__ = ["GymnasiumServer", "ResourcesServer", "Reward", "StepResult", "TaskRow", "Trajectory", "tool"]
