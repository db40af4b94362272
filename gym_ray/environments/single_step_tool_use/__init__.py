"""The next step of a conversation: the expected function calls, or words."""

from gym_ray.environments.single_step_tool_use.server import SingleStepToolUse as SingleStepToolUse
