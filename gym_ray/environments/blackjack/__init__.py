"""Blackjack: hit or stand until the hand ends."""

from gym_ray.environments.blackjack.server import Blackjack as Blackjack
