"""Which task is this row? Dense task numbers by first appearance, in tens of bytes per task.

A task's identity is a 64-bit hash of (environment, task id); its content a 64-bit hash of the row. Two
different tasks of a million share a hash with a chance of 3e-8; then they would be reported as duplicates,
never merged. Python's own dict would cost some 200 bytes per task, which is what a driver of ten million
tasks cannot spend.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

_MAX_LOAD = 0.6
"""Share of used slots above which linear probing gets slow."""


def hash64(data: bytes) -> int:
    """A non-zero 64-bit hash."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") or 1


def row_id(raw: bytes) -> str:
    """The id of a row that names none: 16 hexadecimal digits of its content's hash."""
    return blake2b(raw, digest_size=8).hexdigest()


class TaskIndex:
    """Task numbers by identity: an open-addressing hash table over flat arrays.

    ``content[number]``: hash of the task's row. ``place[number]``: where it was first seen, packed by the
    caller into 64 bits.
    """

    def __init__(self) -> None:
        self._slots, self._numbers, self._mask = array("Q", bytes(8 * 1024)), array("I", bytes(4 * 1024)), 1023
        self.content, self.place = array("Q"), array("Q")

    def __len__(self) -> int:
        return len(self.content)

    def number(self, identity: int, content: int, place: int) -> tuple[int, bool]:
        """The task's number, and whether it is new (then ``content`` and ``place`` are kept)."""
        slots, mask = self._slots, self._mask
        slot = identity & mask
        while found := slots[slot]:
            if found == identity:
                return self._numbers[slot], False
            slot = (slot + 1) & mask
        number = len(self.content)
        slots[slot], self._numbers[slot] = identity, number
        self.content.append(content)
        self.place.append(place)
        if number + 1 > _MAX_LOAD * mask:
            self._grow()
        return number, True

    def _grow(self) -> None:
        old_slots, old_numbers, size = self._slots, self._numbers, 2 * len(self._slots)
        self._slots, self._numbers, self._mask = array("Q", bytes(8 * size)), array("I", bytes(4 * size)), size - 1
        slots, numbers, mask = self._slots, self._numbers, self._mask
        for identity, number in zip(old_slots, old_numbers, strict=True):
            if identity:
                slot = identity & mask
                while slots[slot]:
                    slot = (slot + 1) & mask
                slots[slot], numbers[slot] = identity, number
