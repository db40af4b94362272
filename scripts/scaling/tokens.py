"""Tokens: what each one costs an agent worker, on its way from a replica's answer to the journal."""

from __future__ import annotations

import json
import random
import tracemalloc

import orjson

from gym_ray.collect.journal.record import encode as encode_record
from gym_ray.models.http import decode, encode
from gym_ray.models.turn import turn_reply
from gym_ray.types.items import user_message
from gym_ray.types.outcome import Outcome, Reward
from gym_ray.types.rollout import Rollout
from gym_ray.types.trajectory import Trajectory, Turn
from scaling import runs
from scaling.curve import Curve, cpu_of

TURNS = 8
OFTEN = 10


def measure(quick: bool) -> list[Curve]:
    """The real turn client's coding and the real record, for rollouts of 1,000 to 128,000 tokens in 8 turns."""
    curve = Curve(
        "tokens",
        f"rollouts of {TURNS} turns with ids and logprobs: requests and answers coded, record encoded",
        "tokens",
        ["CPU-ms per rollout", "CPU-us per token", "record B/token", "sent B/token", "B/token in flight"],
    )
    for tokens in (1_000, 8_000) if quick else (1_000, 4_000, 16_000, 32_000, 64_000, 128_000):
        curve.add(tokens, *_one(tokens))
    return [curve]


def _one(tokens: int) -> tuple[float, ...]:
    each = tokens // TURNS
    answers = [_answer(each, turn) for turn in range(TURNS)]
    made: list[bytes] = []
    used = cpu_of(lambda: [made.append(encode_record(_rollout(answers)[0])) for _ in range(OFTEN)]) / OFTEN
    tracemalloc.start()
    kept = _rollout(answers)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return 1e3 * used, 1e6 * used / tokens, len(made[0]) / tokens, kept[1] / tokens, held / tokens


def _answer(count: int, turn: int) -> bytes:
    """A replica's answer: ``count`` ids of a large vocabulary and float32 logprobs; 10 ids of the template before."""
    dice = random.Random(turn)
    ids = [dice.randrange(150_000) for _ in range(count)]
    logprobs = [round(-dice.expovariate(2.0), 7) for _ in range(count)]
    items = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "word " * count}]}]
    tokens = {"kept": turn * (count + 10), "suffix": ids[:10], "sampled": ids, "logprobs": logprobs, "version": 0}
    usage = {"prompt_tokens": turn * count, "completion_tokens": count}
    return orjson.dumps({"items": items, "finish_reason": "stop", "usage": usage, "tokens": tokens})


def _rollout(answers: list[bytes]) -> tuple[Rollout, int]:
    """The rollout that these answers make, and the bytes of its requests."""
    row = runs.task_row(0)
    trajectory = Trajectory([user_message("?")], model="policy")
    rollout = Rollout(0, "task-0", 0, "mcqa", "ToolLoop", row, json.loads(row), Outcome.SCORED)
    rollout.reward, rollout.trajectory, sent = Reward(1.0), trajectory, 0
    prefix: list[int] = []
    for answer in answers:
        body = {"params": {}, "items": trajectory.items, "session": "task-0/0", "covered": 0, "prefix": prefix}
        sent += len(encode(body))
        reply = turn_reply(decode(answer), prefix)
        # As ``agents.conversation`` does.
        trajectory.items += reply.items
        trajectory.turns.append(Turn(len(trajectory.items) - 1, reply.finish_reason, reply.usage, reply.tokens, 1.0))
        assert reply.tokens is not None
        prefix = reply.tokens.prompt + reply.tokens.sampled
    return rollout, sent
