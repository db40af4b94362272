"""The rollouts that NeMo Gym ships beside its servers (``data/example_rollouts.jsonl``), as rows and answers.

A recording mixes the task's fields with the verify answer's, and may lack some that ``/verify`` reads. So the task is
looked up by its prompt in the server's ``data/example.jsonl``, and taken as it is or to complete the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gym_ray.types.items import is_assistant_message

Json = dict[str, Any]
PLACEHOLDER = "Ellipsis"
MODEL_ITEMS = ("reasoning", "function_call")


@dataclass(frozen=True)
class Recording:
    """One recorded rollout. ``rows``: the task row, by each way of completing it. ``items``: what came out."""

    rows: list[Json]
    items: list[Json]
    reward: float

    def turns(self) -> Iterator[list[Json]]:
        """The model's items, one list per turn."""
        turn: list[Json] = []
        for item in self.items:
            if item.get("type") in MODEL_ITEMS or is_assistant_message(item):
                turn.append(item)
            elif turn:
                yield turn
                turn = []
        if turn:
            yield turn


def recordings(folder: Path) -> Iterator[Recording | str]:
    """Each recorded rollout of a server, or why it is none."""
    examples = list(_lines(folder / "data" / "example.jsonl"))
    for line in _lines(folder / "data" / "example_rollouts.jsonl"):
        yield _recording(line, examples)


def _recording(line: Json | None, examples: list[Json | None]) -> Recording | str:
    if line is None:
        return "no JSON"
    response, reward, params = line.get("response"), line.get("reward"), line.get("responses_create_params")
    if not isinstance(response, dict) or not isinstance(params, dict) or not params.get("input"):
        return "no response"
    if not isinstance(reward, int | float):
        return "no reward"
    row = {name: value for name, value in line.items() if name not in ("response", "reward")}
    other = _task_of(line, examples)
    rows = [*([other, {**other, **row}] if other else []), row]
    distinct = [one for place, one in enumerate(rows) if one not in rows[:place]]
    return Recording(distinct, response.get("output") or [], float(reward))


def _task_of(line: Json, examples: list[Json | None]) -> Json | None:
    """The example of the recording's number if its prompt, where it has one, agrees; else one with that prompt."""
    number, asked = line.get("_ng_task_index"), _prompt(line)
    own = examples[number] if isinstance(number, int) and 0 <= number < len(examples) else None
    if own is not None and asked.startswith(_prompt(own)):  # step-wise servers add to it
        return own
    return next((one for one in examples if one and _prompt(one) and asked.startswith(_prompt(one))), None)


def _lines(file: Path) -> Iterator[Json | None]:
    if not file.is_file():
        return
    for line in file.read_bytes().splitlines():
        if line.strip():
            try:
                parsed = orjson.loads(line)
            except orjson.JSONDecodeError:
                parsed = None
            yield parsed if isinstance(parsed, dict) else None


def _prompt(row: Json) -> str:
    given = (row.get("responses_create_params") or {}).get("input")
    if isinstance(given, str):
        return given
    return "\n".join(_text(item.get("content")) for item in given or () if isinstance(item, dict))


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content or "")
