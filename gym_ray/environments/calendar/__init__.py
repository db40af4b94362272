"""Scheduling: events without conflicts, each within its constraint."""

from gym_ray.environments.calendar.server import Calendar as Calendar
