"""``gym-ray tasks validate``: every mistake in task files, before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from gym_ray.cli.arguments import quote
from gym_ray.cli.compose import compose_settings
from gym_ray.cli.main import DONE
from gym_ray.collect.config import TasksConfig
from gym_ray.collect.tasks.bad_rows import BadRow, BadRows
from gym_ray.collect.tasks.reader import TaskReader
from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.load import load_servers
from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings

HELP = """\
usage: gym-ray tasks validate [PATH...] env=NAME[,NAME...] [tasks.KEY=VALUE]...

  gym-ray tasks validate train.jsonl env=mcqa
  gym-ray tasks validate 's3://bucket/tasks/*.jsonl.gz' env=mcqa,math
  gym-ray tasks validate raw.jsonl env=math tasks.prompt=prompt.yaml
  gym-ray tasks validate env=inventory/inventory.py:Inventory       (its own examples)

Names file, line and field of every bad row (the first 50 are printed). Exit codes: 0 all rows are good, 2 not.
"""


class TasksRequest(Settings):
    """What the ``tasks`` verbs compose."""

    envs: dict[str, EnvironmentConfig] = Field(default_factory=dict)
    """Environments by name."""
    tasks: TasksConfig = Field(default_factory=TasksConfig)
    """Where tasks come from."""


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    reader = open_reader(words)
    rows: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    with BadRows("stop") as bad:
        for item in reader:
            if isinstance(item, BadRow):
                bad.add(item)
            else:
                rows[item.environment] += 1
                tasks[item.environment] += item.fresh
    for name in rows:
        again = f", {rows[name] - tasks[name]:,} of them repeated" if rows[name] > tasks[name] else ""
        print(f"{name}: {rows[name]:,} good rows{again}")
    if not rows:
        raise UserError("no task in the files")
    return DONE


def open_reader(words: Sequence[str]) -> TaskReader:
    """A reader of the tasks that ``words`` name. Paths may stand alone: ``PATH`` is ``tasks=PATH``."""
    paths = [word for word in words if "=" not in word and not word.startswith("-")]
    settings = [word for word in words if word not in paths]
    if paths:
        settings.append(f"tasks.path=[{','.join(map(quote, paths))}]")
    request, _ = compose_settings(settings, TasksRequest)
    if not request.envs:
        raise UserError("env=NAME is missing: it says which fields a row must have")
    servers = load_servers(request.envs)
    return TaskReader(request.tasks, request.envs, servers)
