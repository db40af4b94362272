"""``gym-ray tasks render``: task files made by a generator, or by a prompt template."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import orjson

from gym_ray.cli.main import DONE
from gym_ray.cli.tasks_validate import open_reader
from gym_ray.collect.tasks.bad_rows import BadRow, BadRows
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray tasks render env=NAME count=N [seed=0] [difficulty=easy|medium|hard] [out=FILE]
       gym-ray tasks render tasks=PATH tasks.prompt=FILE env=NAME[,NAME...] [out=FILE]

  gym-ray tasks render env=mcqa count=1000 seed=7 out=train.jsonl     new tasks by the environment's generator
  gym-ray tasks render tasks=raw.jsonl tasks.prompt=prompt.yaml env=math out=train.jsonl

The first form makes the same rows for the same seed; its first rows do not depend on count. The second applies
a template with `user:` and optionally `system:`, {field} standing for a row's field, and checks every row.
Without out= the rows go to standard output.
"""
GENERATOR_KEYS = ("env", "count", "seed", "difficulty", "out")


def help_text() -> str:
    """Usage."""
    return HELP


def run(words: Sequence[str]) -> int:
    """See the module."""
    out = next((word.partition("=")[2] for word in words if word.startswith("out=")), None)
    if any(word.startswith("count=") for word in words):
        rows: Iterable[bytes] = _generated(words)
    else:
        rows = _prompted([word for word in words if not word.startswith("out=")])
    count = _write(rows, out)
    print(f"{count:,} tasks written to {out or 'standard output'}", file=sys.stderr)
    return DONE


def _generated(words: Sequence[str]) -> Iterator[bytes]:
    from gym_ray.environments.catalog import generator
    from gym_ray.environments.generate import Difficulty

    values = dict(word.partition("=")[::2] for word in words)
    for key in values:
        if key not in GENERATOR_KEYS:
            near = difflib.get_close_matches(key, GENERATOR_KEYS, 1)
            raise UserError(
                f"`{key}` is no setting here; {'nearest' if near else 'there are'}: "
                f"{near[0] if near else ', '.join(GENERATOR_KEYS)}"
            )
    if "env" not in values:
        raise UserError("env=NAME is missing")
    level = values.get("difficulty", Difficulty.EASY.value)
    if level not in set(Difficulty):
        raise UserError(f"difficulty={level}: must be one of {', '.join(Difficulty)}")
    rows = generator(values["env"])(_integer(values, "count", 0), _integer(values, "seed", 0), level)
    return (orjson.dumps(row) for row in rows)


def _integer(values: dict[str, str], key: str, default: int) -> int:
    text = values.get(key, str(default))
    if not text.isdecimal():
        raise UserError(f"{key}={text}: must be a whole number")
    return int(text)


def _prompted(words: Sequence[str]) -> Iterator[bytes]:
    reader = open_reader(words)
    if reader.prompt is None:
        raise UserError("say count=N to make tasks with a generator, or tasks.prompt=FILE to apply a template")
    with BadRows("stop") as bad:
        for item in reader:
            if isinstance(item, BadRow):
                bad.add(item)
            else:
                yield item.row


def _write(rows: Iterable[bytes], out: str | None) -> int:
    """Write rows; a file appears whole or not at all."""
    count = 0
    part = Path(f"{out}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") if out else nullcontext(sys.stdout.buffer) as sink:
            for row in rows:
                sink.write(row + b"\n")
                count += 1
        if out:
            part.replace(out)
    except OSError as error:
        raise UserError(f"out={out}: {error.strerror}") from error
    finally:
        if out:
            part.unlink(missing_ok=True)
    return count
