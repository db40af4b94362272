"""Mathematics with a Python interpreter that remembers."""

from gym_ray.environments.python_tool.server import PythonTool as PythonTool
