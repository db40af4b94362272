"""The library of environments, one folder each. They know only ``gym_ray.types`` and ``gym_ray.resources``."""
