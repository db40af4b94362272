"""The library of environments, one folder each. They know only ``gym_ray.types`` and ``gym_ray.resources``.

Each folder is a package with the same files:

- ``server.py``: the :class:`~gym_ray.resources.server.ResourcesServer` subclass, re-exported by the package;
- ``generate.py``: ``generate(count, seed, difficulty) -> Iterator[row]`` makes task rows, the same ones for the
  same arguments and never one twice; ``solve(row) -> list[turn]`` is a scripted expert: the output items of each
  model turn that solves such a row, the tools being run between turns;
- ``examples.jsonl``: a few rows; ``golden.jsonl``: recorded answers with the reward each must get;
- ``README.md``: the card.

:mod:`gym_ray.environments.catalog` finds these by name; :mod:`gym_ray.environments.generate` says what rows and
turns look like.
"""
