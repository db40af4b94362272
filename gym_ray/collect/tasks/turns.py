"""Several streams as one, each with its share at any point.

The k-th row of a stream of weight ``w`` is due at ``(k + 1/2) / w``; what is due first comes first. So among the first
``n`` rows each stream has its share to within one row, a stream that ends leaves its place to the others, and rows that
are added to one stream later change nothing about the order of the rest.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")


def take_turns(streams: Mapping[str, Iterable[T]], weights: Mapping[str, float]) -> Iterator[T]:
    """The rows of all ``streams``; those of each keep their order. ``weights``: above 0, by stream."""
    heap: list[tuple[float, int, int, T, Iterator[T]]] = []
    shares = [weights[name] for name in streams]

    def draw(place: int, number: int, stream: Iterator[T]) -> None:
        for row in stream:
            heapq.heappush(heap, ((number + 0.5) / shares[place], place, number, row, stream))
            return

    for place, rows in enumerate(streams.values()):
        draw(place, 0, iter(rows))
    while heap:
        _, place, number, row, stream = heapq.heappop(heap)
        yield row
        draw(place, number + 1, stream)
