"""Exports: from a run's rollouts to the files that trainers read."""
