"""Signs that a verifier was fooled: success without an output, and one output that solves unlike tasks.

One output given to many tasks is no sign by itself: "B" is right in a quarter of all quizzes. It is one where the
tasks expect different answers, or name none. Memory is bounded: of more than :data:`CAPACITY` different outputs
the frequent ones are kept (Misra and Gries 1982), with counts too low by at most tasks / CAPACITY.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from gym_ray.runs.measure import Measured, visible_output

CAPACITY = 2048
MIN_TASKS = 3
_SHOWN = 200


@dataclass(slots=True)
class _Seen:
    """One output. ``text``: its beginning. ``expected``: of the first task. ``differs``: a later one's is another."""

    text: str
    tasks: int
    expected: str | None
    differs: bool = False


@dataclass(slots=True)
class Suspicion:
    """Gathers the signs over an environment's tasks. ``empty``: successes that said and called nothing.

    ``outputs``: by hash, as whole texts of :data:`CAPACITY` outputs can be long.
    """

    empty: int = 0
    outputs: dict[int, _Seen] = field(default_factory=dict)

    def add(self, group: Measured) -> None:
        """Look at one task's successes."""
        said = [visible_output(row.items) for row, won in zip(group.scored, group.successes, strict=True) if won]
        self.empty += sum(not text for text in said)
        self._count({text for text in said if text}, group.expected())

    def _count(self, texts: Iterable[str], expected: str | None) -> None:
        for text in texts:
            seen = self.outputs.get(hash(text))
            if seen is not None:
                seen.tasks += 1
                seen.differs = seen.differs or seen.expected != expected
            elif len(self.outputs) < CAPACITY:
                self.outputs[hash(text)] = _Seen(text[:_SHOWN], 1, expected)
            else:
                self._fade()

    def _fade(self) -> None:
        """One task less for each output, those without any forgotten: what is frequent outlives what is not."""
        for seen in self.outputs.values():
            seen.tasks -= 1
        self.outputs = {key: seen for key, seen in self.outputs.items() if seen.tasks > 0}

    def summary(self) -> dict[str, Any]:
        """``{empty_successes, repeated: [{output, tasks, expected}]}``, the most frequent first, at most 10.

        ``expected``: ``different`` (the tasks expect different answers) or ``unknown`` (they name none).
        """
        found = [
            {"output": seen.text, "tasks": seen.tasks, "expected": "different" if seen.differs else "unknown"}
            for seen in self.outputs.values()
            if seen.tasks >= MIN_TASKS and (seen.differs or seen.expected is None)
        ]
        found.sort(key=lambda one: -int(str(one["tasks"])))
        return {"empty_successes": self.empty, "repeated": found[:10]}
