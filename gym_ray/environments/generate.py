"""What the task generators share: difficulty levels, row layout, and draws without repeats.

Invariants: a generator is a pure function of ``(count, seed, difficulty)``; its first ``n`` rows do not depend
on ``count``; no two rows of one call have the same prompt (or another ``identity``, where the prompt says nothing of
the task). Rows keep NeMo Gym's layout, so they load there too;
``task_id`` and ``environment`` are ours and ignored elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from gym_ray.types.errors import UserError
from gym_ray.types.items import Item

Row = dict[str, Any]
Turn = list[Item]
"""Output items of one model call."""

PATIENCE = 200
"""Draws in a row that bring nothing new before a level counts as used up."""


class Difficulty(StrEnum):
    """easy: short prompts that a few-million-parameter model can learn. hard: several steps."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


def prompt_of(row: Row) -> str:
    """The row's prompt, as one string."""
    return str(row["responses_create_params"]["input"])


def distinct_rows(
    environment: str,
    count: int,
    seed: int,
    difficulty: Difficulty | str,
    draw: Callable[[random.Random], Row],
    identity: Callable[[Row], str] = prompt_of,
) -> Iterator[Row]:
    """``count`` rows from ``draw``, each with an ``identity`` not seen before, with ids stamped.

    Raises:
        UserError: the level has fewer distinct tasks than asked for.
    """
    level = Difficulty(difficulty)
    rng = random.Random(f"{environment}/{level}/{seed}")
    seen: set[str] = set()
    for number in range(count):
        for _ in range(PATIENCE):
            row = draw(rng)
            found = identity(row)
            if found not in seen:
                break
        else:
            raise UserError(f"{environment}: {level} has only about {number} distinct tasks, {count} were asked for")
        seen.add(found)
        yield {"task_id": f"{environment}-{level}-{seed}-{number}", "environment": environment} | row


def prompt_params(text: str, system: str | None = None) -> dict[str, Any]:
    """``responses_create_params`` with an optional system message and one user message."""
    messages = [{"role": "system", "content": system}] if system else []
    return {"input": [*messages, {"role": "user", "content": text}]}
