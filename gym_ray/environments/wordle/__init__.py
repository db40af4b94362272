"""Wordle: find a five-letter word in six guesses."""

from gym_ray.environments.wordle.server import Wordle as Wordle
