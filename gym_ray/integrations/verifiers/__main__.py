"""``python -m gym_ray.integrations.verifiers TASKSET [COUNT] > tasks.jsonl``: the rows of a taskset."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from gym_ray.integrations.verifiers.server import load_taskset
from gym_ray.types.errors import UserError
from gym_ray.types.items import Item


def rows(name: str, config: dict[str, Any] | None = None, count: int | None = None) -> Iterator[dict[str, Any]]:
    """The first ``count`` tasks (None: all; some tasksets never end) as task rows.

    Raises:
        UserError: as the environment itself, or a prompt that is not text.
    """
    for task in islice(load_taskset(name, config or {}), count):
        data = task.data
        yield {
            "task_id": data.id or f"{name}-{data.idx}",
            "environment": "verifiers",
            "responses_create_params": {"input": list(_prompt(name, data))},
            "verifiers_task": data.model_dump(mode="json", exclude_defaults=True),
        }


def _prompt(name: str, data: Any) -> Iterator[Item]:
    if data.system_prompt:
        yield {"role": "system", "content": data.system_prompt}
    if isinstance(data.prompt, str):
        yield {"role": "user", "content": data.prompt}
        return
    for message in data.prompt or ():
        if message.role not in ("system", "user", "assistant") or not isinstance(message.content, str):
            raise UserError(f"taskset {name}: task {data.idx}: its prompt holds more than text")
        yield {"role": message.role, "content": message.content}


def main(words: list[str]) -> int:
    """The exit code."""
    if not words or words[0] in ("-h", "--help") or (len(words) > 1 and not words[1].isdecimal()):
        print(__doc__)
        return 0 if words and words[0] in ("-h", "--help") else 2
    try:
        for row in rows(words[0], count=int(words[1]) if len(words) > 1 else None):
            sys.stdout.buffer.write(orjson.dumps(row) + b"\n")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
