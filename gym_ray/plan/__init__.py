"""Recipes as plans: what a whole run needs before any of it starts."""
