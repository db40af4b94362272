"""Tasksets of verifiers."""

from gym_ray.integrations.verifiers.server import Verifiers as Verifiers
