"""An episode as one response object."""

from __future__ import annotations

import pytest

from gym_ray.types.items import assistant_message, user_message
from gym_ray.types.response import response_of
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage


@pytest.mark.parametrize(
    ("finish", "status", "details"),
    [
        (FinishReason.STOP, "completed", None),
        (FinishReason.LENGTH, "incomplete", {"reason": "max_output_tokens"}),
        (FinishReason.CONTENT_FILTER, "incomplete", {"reason": "content_filter"}),
    ],
)
def test_it_says_whether_it_was_cut(finish: FinishReason, status: str, details: dict[str, str] | None) -> None:
    answer = [assistant_message("4")]
    turn = Turn(0, finish, Usage(7, 3))
    trajectory = Trajectory([user_message("2+2?")], answer, [turn], finish)
    response = response_of(trajectory, {"tools": None, "parallel_tool_calls": False}, created=5.0)
    assert (response["status"], response["incomplete_details"], response["output"]) == (status, details, answer)
    assert (response["tools"], response["tool_choice"], response["parallel_tool_calls"]) == ([], "auto", False)
    assert (response["created_at"], response["usage"]["total_tokens"]) == (5.0, 10)
