"""Gymnasium environments by their id."""

from gym_ray.integrations.gymnasium.server import Gymnasium as Gymnasium
