"""Answers in a given structure, graded against a JSON schema."""

from gym_ray.environments.structured_outputs.server import StructuredOutputs as StructuredOutputs
