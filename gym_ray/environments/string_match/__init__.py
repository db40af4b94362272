"""Short free-form answers, compared as text."""

from gym_ray.environments.string_match.server import StringMatch as StringMatch
