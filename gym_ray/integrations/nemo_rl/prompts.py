"""Which of a call's rows are one prompt group.

NeMo-RL hands over a flat list in which the rows of a prompt stand together; it does not say how many they are. Rows are
one group while their content is equal, but for the trainer's own numbers; ``_ng_task_index``, where it is stamped, must
be equal too. A group verifier that was told its size gets groups of at most that many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Json = dict[str, Any]
ROW_INDEX, TASK_INDEX = "_rowidx", "_ng_task_index"
_NUMBERS = "_ng_"


def content(row: Json) -> Json:
    """The row without the trainer's own numbers: equal for all rows of a prompt."""
    return {key: value for key, value in row.items() if key != ROW_INDEX and not key.startswith(_NUMBERS)}


def prompt_groups(rows: Sequence[Json], size_of: Callable[[Json], int | None]) -> list[list[Json]]:
    """The rows, cut into groups, in order. ``size_of``: the largest group that a row's environment takes."""
    groups: list[list[Json]] = []
    last: tuple[Any, Json] | None = None
    for row in rows:
        this = (row.get(TASK_INDEX), content(row))
        full = groups and (limit := size_of(row)) is not None and len(groups[-1]) >= limit
        if this != last or full:
            groups.append([])
        groups[-1].append(row)
        last = this
    return groups
