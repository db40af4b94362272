"""Office work through tools: mail, calendar, projects, customers and expenses."""

from gym_ray.environments.workplace.server import Workplace as Workplace
