"""Records that travel through gym_ray. This package knows nothing of Ray, models or environments."""
