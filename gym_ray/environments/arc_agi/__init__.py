"""ARC-AGI: find the rule behind pairs of grids and apply it."""

from gym_ray.environments.arc_agi.server import ArcAgi as ArcAgi
