"""Harmless requests that sound harmful: answering pays, refusing does not."""

from gym_ray.environments.over_refusal_detection.server import OverRefusalDetection as OverRefusalDetection
