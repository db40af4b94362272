"""Repairs of repositories, graded by hidden tests."""

from gym_ray.environments.swe.server import Swe as Swe
