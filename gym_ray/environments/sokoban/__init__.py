"""Sokoban: push every box onto a target, one move per turn."""

from gym_ray.environments.sokoban.server import Sokoban as Sokoban
