"""A part of a run: one of several jobs that work on one plan in one run directory, each on tasks of its own.

One driver hands out so many blocks a second, and no more; several of them, each with agents of its own, hand out as
many times that. They share nothing but the directory and a model that is up already: all write the same plan, each
takes every n-th task of it, and their journals lie side by side. Nobody waits for anybody, so no part makes shards:
``gym-ray runs recover``, or the same collect without a part, does that once all of them have ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gym_ray.types.errors import UserError


@dataclass(frozen=True, slots=True)
class Part:
    """Part ``number`` (from 1) of ``parts``."""

    number: int = 1
    parts: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Part:
        """``2/4``; None is the whole. Raises UserError: there is no such part."""
        if text is None:
            return cls()
        number, _, parts = text.partition("/")
        if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
            raise UserError(f"collect.part={text}: must be like 2/4, the second of four parts")
        return cls(int(number), int(parts))

    @property
    def whole(self) -> bool:
        """Whether it is all of the run."""
        return self.parts == 1

    def has(self, tasks: NDArray[Any]) -> NDArray[Any]:
        """Which tasks, by their numbers, belong to it: a mask."""
        mask: NDArray[Any] = tasks % tasks.dtype.type(self.parts) == self.number - 1
        return mask
