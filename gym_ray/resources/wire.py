"""Trajectories between processes: nested tuples of plain values, several times cheaper to pickle than the
records, and without the tokens when the verifier does not read them."""

from __future__ import annotations

from typing import Any

from gym_ray.types.tokens import TurnTokens
from gym_ray.types.trajectory import FinishReason, Trajectory, Turn, Usage

Packed = tuple[Any, ...]
"""What :func:`pack` makes; only :func:`unpack` reads it."""


def pack(trajectory: Trajectory, *, tokens: bool) -> Packed:
    """``trajectory`` as plain values (its item lists are shared, not copied)."""
    turns = [_pack_turn(turn, tokens) for turn in trajectory.turns]
    finish = trajectory.finish_reason.value
    return trajectory.input, trajectory.items, turns, finish, trajectory.step_rewards, trajectory.model


def unpack(packed: Packed) -> Trajectory:
    """The trajectory again."""
    given, items, turns, finish, step_rewards, model = packed
    return Trajectory(given, items, [_unpack_turn(turn) for turn in turns], FinishReason(finish), step_rewards, model)


def _pack_turn(turn: Turn, tokens: bool) -> Packed:
    used, exact = turn.usage, turn.tokens
    counts = used.prompt_tokens, used.completion_tokens, used.cached_tokens, used.reasoning_tokens
    ids = (exact.prompt, exact.sampled, exact.logprobs, exact.version) if tokens and exact is not None else None
    return turn.last_item, turn.finish_reason.value, counts, ids, turn.seconds


def _unpack_turn(packed: Packed) -> Turn:
    last_item, finish, counts, ids, seconds = packed
    return Turn(last_item, FinishReason(finish), Usage(*counts), None if ids is None else TurnTokens(*ids), seconds)
