"""Open-ended answers ranked within their group by a judge that compares two at a time."""

from gym_ray.environments.genrm_compare.server import GenrmCompare as GenrmCompare
