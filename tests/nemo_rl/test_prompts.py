"""Which rows are one group."""

from __future__ import annotations

from typing import Any

from gym_ray.integrations.nemo_rl.prompts import prompt_groups

Json = dict[str, Any]


def row(index: int, question: str, task: int | None = None) -> Json:
    stamped = {} if task is None else {"_ng_task_index": task}
    return {"_rowidx": index, "responses_create_params": {"input": question}, **stamped}


def sizes(rows: list[Json], limit: int | None = None) -> list[int]:
    groups = prompt_groups(rows, lambda row: limit)
    assert [one for group in groups for one in group] == rows
    return [len(group) for group in groups]


def test_rows_of_a_prompt_stand_together() -> None:
    assert sizes([row(index, "ab"[index // 4]) for index in range(8)]) == [4, 4]
    assert sizes([row(0, "a"), row(1, "b"), row(2, "a")]) == [1, 1, 1]


def test_a_stamp_parts_equal_prompts_that_follow_each_other() -> None:
    assert sizes([row(index, "a", index // 2) for index in range(4)]) == [2, 2]


def test_a_group_verifier_gets_no_more_than_it_was_told() -> None:
    assert sizes([row(index, "a") for index in range(10)], 4) == [4, 4, 2]


def test_numbers_of_the_trainer_part_nothing() -> None:
    assert sizes([{**row(index, "a"), "_ng_rollout_index": index} for index in range(3)]) == [3]
