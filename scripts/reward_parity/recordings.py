"""NeMo Gym's recorded rollouts, by the environment of ours that takes their rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from gym_ray.types.items import input_items, item_text, output_text

Json = dict[str, Any]
RECORDINGS = "example_rollouts.jsonl"
OUR_WORDS = {"PASS": "[[YES]]", "FAIL": "[[NO]]", "A": "[[CORRECT]]", "B": "[[INCORRECT]]", "C": "[[NOT_ATTEMPTED]]"}
"""A recorded judge's verdict, as our prompt asks for it: rubrics, and abstention."""

_BOARD = re.compile(r"Sokoban board:\n((?:#.*\n)+)")


@dataclass(frozen=True, slots=True)
class Recording:
    """One answer and the reward it got. ``place``: the folder it comes from. ``row``: its task. ``start``: what the
    model was shown first, as text. ``judge``: what a judge said about the answer, in order."""

    place: str
    row: Json
    output: list[Json]
    reward: float
    start: str
    judge: list[str]


def recorded_for(root: Path, aliases: set[str], but: set[str]) -> list[Recording]:
    """What was recorded for any agent called one of ``aliases``, each answer once, ``but`` for these places."""
    found: dict[bytes, Recording] = {}
    for folder in _folders(root):
        if aliases & _agents(folder) and _place(folder) not in but:
            for recording in _read(folder):
                key = orjson.dumps([recording.output, recording.row.get("expected_answer")])
                found.setdefault(key, recording)
    return list(found.values())


def _folders(root: Path) -> list[Path]:
    files = [*root.glob(f"resources_servers/*/data/{RECORDINGS}"), *root.glob(f"environments/*/data/{RECORDINGS}")]
    return [file.parent.parent for file in sorted(files, key=str, reverse=True)]


def _agents(folder: Path) -> set[str]:
    """Names of the agents that the folder's configuration declares."""
    names: set[str] = set()
    for file in (*folder.glob("configs/*.yaml"), *folder.glob("config.yaml")):
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
        names |= {name for name, value in config.items() if isinstance(value, dict) and "responses_api_agents" in value}
    return names


def _place(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _read(folder: Path) -> Iterator[Recording]:
    place, tasks = _place(folder), _tasks(folder / "data")
    for row in _rows(folder / "data" / RECORDINGS):
        if "response" in row and "reward" in row:
            # A recorded row lacks the task's fields that the server's reply does not declare.
            task = _task_of(row, tasks) or {key: row[key] for key in row if key not in ("response", "reward")}
            if board := _BOARD.search(_prompt(row)):
                task = task | {"level": board[1]}  # ours makes another one from its seed
            output = [item for item in row["response"]["output"] if isinstance(item, dict)]
            yield Recording(place, task, output, float(row["reward"]), _prompt(row), list(_judge(row)))


def _tasks(data: Path) -> list[Json]:
    """The server's example tasks, those of ``example.jsonl`` first: recordings count by it."""
    files = sorted(data.glob("*example*.jsonl"), key=lambda file: (file.name != "example.jsonl", file.name))
    return [row for file in files if "rollouts" not in file.name for row in _rows(file)]


def _task_of(row: Json, tasks: list[Json]) -> Json | None:
    """The task with the row's prompt; when several have it, the one that the row's index says."""
    prompt = _prompt(row)
    fitting = [number for number, task in enumerate(tasks) if prompt.startswith(_prompt(task))]
    if len(fitting) > 1 and row.get("_ng_task_index") in fitting:
        fitting = [row["_ng_task_index"]]
    return tasks[fitting[0]] if fitting else None


def _judge(row: Json) -> Iterator[str]:
    """The judge's verdicts: servers keep them under three names, two of them in other words than ours."""
    for evaluation in row.get("judge_evaluations") or ():
        yield output_text(evaluation["response"]["output"])
    for evaluation in row.get("rubric_evaluations") or ():
        yield OUR_WORDS[evaluation["verdict"]]
    if row.get("judge_output"):
        yield OUR_WORDS[row["judge_output"].strip()]


def _rows(file: Path) -> list[Json]:
    """The file's JSON objects: some servers ship a placeholder instead of recordings."""
    rows = []
    for line in file.read_bytes().splitlines():
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return [row for row in rows if isinstance(row, dict) and "responses_create_params" in row]


def _prompt(row: Json) -> str:
    """The request's text, the same whether its items are written short or in full."""
    items = input_items(row["responses_create_params"])
    return "\n".join(f"{item.get('role')}: {item_text(item)}" for item in items if "role" in item)
