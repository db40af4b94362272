"""Rows of published blends that point into other data sets: what they point at is put in.

A placeholder row has ``dataset`` and ``_hf_placeholder: {row, question_template}``. The question and answer are those
of row ``row`` (from 0) of the other set, ``prompt[0].content`` and ``reward_model.ground_truth``:

- DAPO (BytedTsinghua-SIA/DAPO-Math-17k, split train): the question stands between two fixed sentences; the template is
  ``{prefix, suffix}``, of which one is used.
- Skywork (Skywork/Skywork-OR1-RL-Data, split math): the template has ``{question}`` in it, as a text or under
  ``template``; the answer is the first of a JSON list.

Source of the format: ``fill_placeholders.py`` of nvidia/Nemotron-RL-Super-Training-Blends and
``create_nanov3_jsonl.py`` of nvidia/Nemotron-3-Nano-RL-Training-Blend.

Invariant: memory holds the rows that are pointed at, never a whole data set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from gym_ray.collect.tasks.rules import BadTask
from gym_ray.collect.tasks.sources import find_sources

KEY = "_hf_placeholder"
KINDS = {"dapo17k": "dapo", "skywork": "skywork"}
"""What the name of a placeholder's data set has in it, and the source that it means."""
SOURCES = tuple(KINDS.values())
DAPO_BEGINS = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem."
)
DAPO_ENDS = 'Remember to put your answer on its own line after "Answer:".'
Pair = tuple[str, str]
"""Question and answer as the other set has them."""


def placeholder_of(row: Mapping[str, Any]) -> tuple[str, int] | None:
    """Source and row that a placeholder points at; None for an ordinary row.

    Raises:
        BadTask: a placeholder of no known kind.
    """
    pointer = row.get(KEY)
    if not pointer:
        return None
    dataset = row.get("dataset")
    kind = next((kind for part, kind in KINDS.items() if isinstance(dataset, str) and part in dataset), None)
    if kind is None:
        raise BadTask(f"dataset: {dataset!r} is no placeholder's data set (its name has {' or '.join(KINDS)} in it)")
    number = pointer.get("row") if isinstance(pointer, dict) else None
    if isinstance(number, str) and number.isdecimal():
        number = int(number)
    if not isinstance(number, int) or number < 0:
        raise BadTask(f"{KEY}.row: must be a row number from 0, is {number!r}")
    return kind, number


def read_pairs(address: str, wanted: Iterable[int], max_bytes: int) -> dict[int, Pair | str]:
    """Question and answer of each row in ``wanted``, or what is wrong with it; rows that are not there are missing.

    Raises:
        UserError: the files at ``address`` cannot be read.
    """
    left, found, number = set(wanted), {}, 0
    for source in find_sources(address):
        for raw in source.rows(max_bytes):
            if number in left:
                found[number] = f"{raw.problem}" if raw.raw is None else _pair(orjson.loads(raw.raw))
            number += 1
            if len(found) == len(left):
                return found
    return found


def resolve(row: dict[str, Any], pairs: Mapping[str, Mapping[int, Pair | str]]) -> str | None:
    """Fill a placeholder row in place; its source, None for an ordinary row. ``pairs``: by source and row.

    Raises:
        BadTask: what it points at is not there, or its template does not fit.
    """
    pointer = placeholder_of(row)
    if pointer is None:
        return None
    kind, number = pointer
    if kind not in pairs:
        raise BadTask(f"{KEY}: points into {kind}, and no {kind}=FILE was given")
    pair = pairs[kind].get(number)
    if not isinstance(pair, tuple):
        raise BadTask(f"{KEY}.row: row {number} of {kind} {'is not there' if pair is None else f'has no {pair}'}")
    template = row[KEY].get("question_template")
    full = _dapo(pair[0], template) if kind == "dapo" else _skywork(pair[0], template)
    del row[KEY]
    row["question"] = full if kind == "dapo" else pair[0]
    row["expected_answer"] = _answer(pair[1])
    row["responses_create_params"] = {"input": [{"role": "user", "content": full}]}
    return kind


def _pair(row: Any) -> Pair | str:
    """Question and answer, or the name of the field that is missing."""
    prompt = row.get("prompt")
    question = prompt[0].get("content") if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict) else None
    model = row.get("reward_model")
    answer = model.get("ground_truth") if isinstance(model, dict) else None
    if not isinstance(question, str):
        return "prompt[0].content"
    return (question, answer) if isinstance(answer, str) else "reward_model.ground_truth"


def _dapo(text: str, template: Any) -> str:
    begin, end = text.find(DAPO_BEGINS), text.rfind(DAPO_ENDS)
    if begin < 0 or end < 0:
        raise BadTask(f"{KEY}: the row it points at has no question between DAPO's two sentences")
    question = text[begin + len(DAPO_BEGINS) : end]
    if isinstance(template, dict) and template.get("prefix"):
        return f"{template['prefix']}{question}".removesuffix("\n\n")
    if isinstance(template, dict) and template.get("suffix"):
        return f"{question}{template['suffix']}"
    raise BadTask(f"{KEY}.question_template: must have a prefix or a suffix")


def _skywork(question: str, template: Any) -> str:
    text = template.get("template") if isinstance(template, dict) else template
    if not isinstance(text, str) or "{question}" not in text:
        raise BadTask(f"{KEY}.question_template: must have {{question}} in it")
    return text.replace("{question}", question)


def _answer(text: str) -> str:
    """The first of a JSON list; any other text as it is."""
    text = text.strip()
    if text.startswith("[") and text.endswith("]"):
        try:
            listed = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text  # an interval, a matrix
        if isinstance(listed, list) and listed:
            return str(listed[0])
    return text
