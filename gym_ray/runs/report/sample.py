"""Which rollouts a report holds in full: whole groups, so that they can be compared side by side.

How: tasks are put in an order that is random but always the same (a hash of the task's number). First come, for
each environment and kind of failure, the first two tasks with a rollout of that kind; then the environments take
turns, each with its next task, until the report is full. So every environment and every kind of failure is there
however rare, and within an environment the sample is not chosen by what the rollouts are worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gym_ray.runs.report.detail import detail_of
from gym_ray.runs.report.index import Source
from gym_ray.runs.report.texts import TokenTexts

Json = dict[str, Any]
ROLLOUTS, BYTES = 2_000, 12 << 20
"""A report is full at either: rollouts, or bytes of JSON."""
CHARACTERS, TOKENS = 20_000, 4_096
"""Longest text and most tokens of a rollout in a report."""
PER_KIND = 2
_MIX = np.uint64(0x9E3779B97F4A7C15)
HOW = (
    "whole groups: for each environment and kind of failure the first {kinds} tasks that have it, then the "
    "environments in turn; tasks in an order drawn by a hash of their number"
)


def sample(source: Source, texts: TokenTexts, rollouts: int = ROLLOUTS, size: int = BYTES) -> Json:
    """``{rows, details, vocabulary, of, how}``; ``of``: rollouts of the run. Holds one group at least."""
    found: Json = {"rows": [], "details": {}, "vocabulary": {}, "of": len(source.index)}
    found["how"] = HOW.format(kinds=PER_KIND)
    used = 0
    for positions in _groups(source):
        details = [detail_of(source.read(int(at)), texts, CHARACTERS, TOKENS) for at in positions]
        vocabularies = [detail.pop("vocabulary") for detail in details]
        used += len(orjson.dumps(details, option=orjson.OPT_NON_STR_KEYS))
        if found["rows"] and (used > size or len(found["rows"]) + len(details) > rollouts):
            break
        for detail, vocabulary in zip(details, vocabularies, strict=True):
            found["details"][f"{detail['task']}-{detail['index']}"] = detail
            found["rows"].append({name: detail[name] for name in _ROW})
            found["vocabulary"].update(vocabulary)
    found["rows"].sort(key=lambda row: (row["task"], row["index"]))
    return found


_ROW = ("task", "index", "task_id", "environment", "outcome", "reward", "tokens", "turns", "failure")


def _groups(source: Source) -> Iterator[NDArray[np.intp]]:
    """Positions of each task's rollouts, tasks in the order of the sample."""
    entries = source.index.entries
    by_task = np.argsort(entries["task"], kind="stable")
    tasks, begins = np.unique(entries["task"][by_task], return_index=True)
    ends = np.append(begins[1:], len(by_task))
    for number in _order(entries, tasks):
        its = by_task[begins[number] : ends[number]]
        yield its[np.argsort(entries["index"][its], kind="stable")]


def _order(entries: NDArray[np.void], tasks: NDArray[np.uint64]) -> Iterator[int]:
    """Places in ``tasks`` (sorted, each once), as the module says."""
    drawn = np.argsort((tasks + np.uint64(1)) * _MIX)
    rank = np.empty(len(tasks), np.int64)
    rank[drawn] = np.arange(len(tasks))
    seen: dict[int, None] = {}
    failed = entries[entries["failure"] > 0]
    for kind in np.unique(failed[["environment", "failure"]]):
        its = failed[(failed["environment"] == kind["environment"]) & (failed["failure"] == kind["failure"])]
        places = np.unique(np.searchsorted(tasks, its["task"]))
        seen.update(dict.fromkeys(places[np.argsort(rank[places])][:PER_KIND].tolist()))
    yield from seen
    environment = np.zeros(len(tasks), np.int64)
    environment[np.searchsorted(tasks, entries["task"])] = entries["environment"]
    queues = [drawn[environment[drawn] == code].tolist() for code in np.unique(environment)]
    for turn in zip_longest(*queues):
        yield from (place for place in turn if place is not None and place not in seen)
