"""What a run under chaos is asked for, and what must come of it, row by row.

Two environments of ``tests/support/envs.py``, both in actors. ``Counter``: the model calls a tool ``n`` times, whose
answers count up, and says ``n``; every fourth task expects another number, so its reward is 0. ``Longest``: groups are
judged together, the longest answers win. A row is fabricated when anything in it differs from what these rules give:
an unknown key, a tool that counted wrongly (its session was another one), tokens of another length, a wrong reward.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.havoc.model import TOKENS_PER_CALL
from tests.support.runs import jsonl_rows, parquet_rows

ENVS = "tests/support/envs.py"
GROUP = 4
LONGEST = 40
Row = dict[str, Any]
Key = tuple[str, int]


@dataclass(frozen=True)
class Work:
    """The tasks of one run: ``counters`` and ``groups``, :data:`GROUP` rollouts each."""

    counters: int
    groups: int

    @property
    def keys(self) -> set[Key]:
        """Every (task id, rollout index) that was asked for."""
        tasks = [f"c{number}" for number in range(self.counters)] + [f"g{number}" for number in range(self.groups)]
        return {(task, index) for task in tasks for index in range(GROUP)}

    def bumps(self, number: int) -> tuple[int, int]:
        """How many times the model bumps, and how many times the verifier expects."""
        bumps = 1 + number % 4
        return bumps, bumps + (number % 16 // 4 == 3)

    def write(self, folder: Path) -> list[str]:
        """Make ``folder`` a configuration directory; returns the words for the command line."""
        counters, groups = [], []
        for number in range(self.counters):
            bumps, expected = self.bumps(number)
            counters.append(_task(f"c{number}", f"bump {bumps}", bumps=expected))
        for number in range(self.groups):
            groups.append(_task(f"g{number}", f"long {LONGEST}"))
        for name, server, tasks, actors in (("counter", "Counter", counters, 3), ("longest", "Longest", groups, 1)):
            tasks_file, choice = folder / f"{name}.jsonl", folder / "conf/env" / f"{name}.yaml"
            choice.parent.mkdir(parents=True, exist_ok=True)
            tasks_file.write_text("".join(json.dumps(task) + "\n" for task in tasks))
            settings = {"server": f"{ENVS}:{server}", "tasks": str(tasks_file), "placement": "actor"}
            choice.write_text(json.dumps({**settings, "num_actors": actors}))
        return ["--config-dir", str(folder / "conf"), "env=counter,longest", "tasks.order=weighted"]


@dataclass
class Verdict:
    """What is wrong with a run's rows, and how many there are. ``given_up``: rows that failed or were masked, with
    their reason: typed and kept, but no use to a trainer."""

    rows: int = 0
    lost: list[Key] = field(default_factory=list)
    doubled: list[Key] = field(default_factory=list)
    fabricated: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)


def judge(run: Path, work: Work, *, whole: bool = True) -> Verdict:
    """Look at every row of a finished run. ``whole``: it is to have all that was asked for."""
    rows, failures = jsonl_rows(run), jsonl_rows(run, "failures")
    keys = Counter([_key(row) for row in rows] + [(row["task_id"], row["_ng_rollout_index"]) for row in failures])
    asked = work.keys
    verdict = Verdict(rows=sum(keys.values()))
    verdict.lost = sorted(asked - keys.keys()) if whole else []
    verdict.doubled = sorted(key for key, count in keys.items() if count > 1)
    verdict.fabricated = [f"{key}: never asked for" for key in sorted(keys.keys() - asked)]
    verdict.given_up = [f"{row['task_id']}: {row['kind']} in {row['stage']}: {row['reason']}" for row in failures]
    verdict.given_up += [f"{_key(row)}: {row['failure_reason']}" for row in rows if row["mask_sample"]]
    scored = [row for row in rows if not row["mask_sample"] and _key(row) in asked]
    groups = defaultdict(list)
    for row in scored:
        groups[_key(row)[0]].append(row)
    columns = {(row["task_id"], row["rollout_index"]): row["reward"] for row in parquet_rows(run)}
    for row in scored:
        wrong = _counter(row, work) if _key(row)[0][0] == "c" else _longest(row, groups[_key(row)[0]])
        if not wrong and columns.get(_key(row)) != row["reward"]:
            wrong = f"Parquet has reward {columns.get(_key(row))}"
        if wrong:
            verdict.fabricated.append(f"{_key(row)}: {wrong}")
    return verdict


def _task(task_id: str, prompt: str, **fields: Any) -> Row:
    return {"task_id": task_id, "responses_create_params": {"input": prompt}, **fields}


def _key(row: Row) -> Key:
    return row["gym_ray"]["task_id"], row["gym_ray"]["rollout_index"]


def _text(item: Row) -> str:
    return "".join(part["text"] for part in item["content"])


def _counter(row: Row, work: Work) -> str:
    """What is wrong with the row of a counter."""
    bumps, expected = work.bumps(int(_key(row)[0][1:]))
    *steps, last = row["response"]["output"]
    kinds = [item["type"] for item in steps]
    if kinds != ["function_call", "function_call_output"] * bumps:
        return f"items {kinds}"
    counted = [item["output"] for item in steps[1::2]]
    if counted != [str(count + 1) for count in range(bumps)] or _text(last) != str(bumps):
        return f"tools said {counted}, the model {_text(last)!r}"
    return _reward(row, float(bumps == expected)) or _tokens(row, bumps + 1)


def _longest(row: Row, group: list[Row]) -> str:
    """What is wrong with the row of a member of ``group``, those that were scored."""
    lengths = [len(_text(one["response"]["output"][-1])) for one in group]
    mine = len(_text(row["response"]["output"][-1]))
    if row["group"] != len(group):
        return f"judged among {row['group']}, {len(group)} were scored"
    return _reward(row, float(mine == max(lengths))) or _tokens(row, 1)


def _reward(row: Row, right: float) -> str:
    return "" if row["reward"] == right == row["gym_ray"]["reward"] else f"reward {row['reward']}, not {right}"


def _tokens(row: Row, calls: int) -> str:
    lengths = [segment["length"] for segment in row["gym_ray"]["segments"]]
    return "" if lengths == [TOKENS_PER_CALL * calls] else f"segments of {lengths} tokens after {calls} calls"
