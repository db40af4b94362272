"""Programs that must pass unit tests, run in a sandbox."""

from gym_ray.environments.code_gen.server import CodeGen as CodeGen
