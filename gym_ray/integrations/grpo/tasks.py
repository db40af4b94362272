"""What is trained on and what is measured on.

Invariants: no task that asks what a held-out one asks is trained on, whatever the files say. Which tasks a step takes
depends on seed and step alone: each pass over all of them is in an order of its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import orjson

from gym_ray.collect.config import RunConfig, TasksConfig
from gym_ray.collect.tasks.bad_rows import BadRow, BadRows
from gym_ray.collect.tasks.reader import TaskLine, TaskReader
from gym_ray.resources.load import load_servers
from gym_ray.types.errors import UserError


@dataclass(frozen=True, slots=True)
class Task:
    """A task's environment and its row, JSON as it is sent."""

    environment: str
    row: bytes


class Curriculum:
    """The tasks of a training. ``left_out``: how many were not to be trained on because they are held out."""

    def __init__(self, train: list[Task], held_out: list[Task]) -> None:
        asked = {_prompt(task) for task in held_out}
        self.train = [task for task in train if _prompt(task) not in asked]
        self.held_out = held_out
        self.left_out = len(train) - len(self.train)
        if not held_out:
            raise UserError("rl.held_out: no task to measure on")
        if not self.train:
            raise UserError("tasks: all of the training tasks are held out: give others")
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def of_step(self, seed: int, step: int, count: int) -> list[Task]:
        """The ``count`` tasks of a step, counted from 1."""
        return [self._at(seed, number) for number in range((step - 1) * count, step * count)]

    def _at(self, seed: int, number: int) -> Task:
        turn, place = divmod(number, len(self.train))
        return self.train[self._order(seed, turn)[place]]

    def _shuffled(self, seed: int, turn: int) -> list[int]:
        numbers = list(range(len(self.train)))
        random.Random(f"{seed}/{turn}").shuffle(numbers)
        return numbers


def read_curriculum(config: RunConfig, held_out: TasksConfig) -> Curriculum:
    """Both sets from their files.

    Raises:
        UserError: unreadable files, bad rows, nothing to train or to measure on.
    """
    measured = list(read_tasks(config, held_out)) if held_out.path else []
    return Curriculum(list(read_tasks(config, config.tasks)), measured)


def read_tasks(config: RunConfig, tasks: TasksConfig) -> Iterator[Task]:
    """The tasks that ``tasks`` names, each once. Raises UserError."""
    servers = load_servers(config.envs)
    own = {} if tasks is config.tasks else {"tasks": None}
    envs = {name: environment.model_copy(update=own) for name, environment in config.envs.items()}
    with BadRows("stop") as bad:
        for item in TaskReader(tasks, envs, servers):
            if isinstance(item, BadRow):
                bad.add(item)
            elif isinstance(item, TaskLine) and item.fresh:
                yield Task(item.environment, item.row)


def _prompt(task: Task) -> bytes:
    """What the task asks, to be compared."""
    asked = orjson.loads(task.row)["responses_create_params"]["input"]
    return task.environment.encode() + orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
