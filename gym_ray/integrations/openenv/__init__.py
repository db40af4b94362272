"""OpenEnv environments, by the address of their server."""

from gym_ray.integrations.openenv.server import OpenEnv as OpenEnv
