"""Prompts with constraints that a program can check."""

from gym_ray.environments.instruction_following.server import InstructionFollowing as InstructionFollowing
