"""Errors as data.

Two families. A :class:`UserError` is a mistake a person can mend: it prints as one line that names the
place and the mend, and ends the command with exit code 2. A :class:`RolloutError` costs exactly one
rollout: whatever boundary it crossed (model, tool, verifier, session, journal) is named by ``stage``, and
``kind`` comes from :class:`FailureKind`. Both are plain and picklable, so that they cross process borders.
"""

from __future__ import annotations

from enum import StrEnum


class UserError(Exception):
    """A mistake in configuration or data. ``str(error)`` is one line (or one line per bad row)."""


class FailureKind(StrEnum):
    """Why a rollout failed or was masked.

    The vocabulary is NeMo Gym 0.7's ``failure_kinds.py`` where it has a word; the last block is ours.
    A name says nothing about retry: :class:`RolloutError` carries ``terminal`` for that.
    """

    TRANSPORT_UNREACHABLE = "transport_unreachable"
    TRANSPORT_PEER_DROP = "transport_peer_drop"
    TRANSPORT_TIMEOUT = "transport_timeout"
    TRANSPORT_LOCAL_RESOURCE = "transport_local_resource"
    AGENT_RUN_ERROR = "agent_run_error"
    AGENT_REQUEST_FAILED = "agent_request_failed"
    AGENT_TIMEOUT = "agent_timeout"
    JUDGE_FAILED = "judge_failed"
    JUDGE_UNPARSEABLE = "judge_unparseable"
    VERIFIER_ERROR = "verifier_error"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    PROVIDER_QUOTA_EXHAUSTED = "provider_quota_exhausted"
    SESSION_LOST = "session_lost"
    SESSION_EXPIRED = "session_expired"
    CANCELLED = "cancelled"
    KILL_SHAPED = "kill_shaped"
    COHORT_INCOMPLETE = "cohort_incomplete"

    SEED_ERROR = "seed_error"
    """``seed`` or ``reset`` raised."""
    STEP_ERROR = "step_error"
    """A gymnasium-style ``step`` raised, or did not end by its deadline."""
    VERIFIER_TIMEOUT = "verifier_timeout"
    """``verify`` did not end by its deadline and was given up (cpu-bound ones: killed)."""
    VERIFIER_CRASHED = "verifier_crashed"
    """The worker process that ran a cpu-bound ``verify`` died (segmentation fault, out of memory, exit)."""
    MODEL_INVALID_RESPONSE = "model_invalid_response"
    """The endpoint answered 200 with something that is not a response."""
    MODEL_REJECTED_REQUEST = "model_rejected_request"
    """A 4xx that repeating cannot mend."""
    MODEL_PAUSED = "model_paused"
    """Our own model is paused (its weights change): the call was not begun, and is made again."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """The very first prompt does not fit the context window."""
    EMPTY_GENERATION = "empty_generation"
    """The model sampled no token at all."""
    NAN_LOGPROB = "nan_logprob"
    """A sampled token has a logprob that is NaN: nothing can be trained on it."""
    TRUNCATED = "truncated"
    """Cut by a token, turn or context limit while ``agent.on_truncation=mask``."""
    REPLAY_DIVERGED = "replay_diverged"
    """Verified again, the session answered otherwise than recorded, so that there is nothing to verify."""
    BAD_TASK = "bad_task"
    """The task row does not fit the environment's Task type."""


class Stage(StrEnum):
    """Where in a rollout something happened."""

    TASK = "task"
    SEED = "seed"
    MODEL = "model"
    TOOL = "tool"
    AGENT = "agent"
    VERIFY = "verify"
    GROUP = "group"
    WORKER = "worker"


class RolloutError(Exception):
    """One rollout cannot go on.

    Attributes:
        kind: why, from :class:`FailureKind` (or ``"<environment>:<kind>"`` for an environment's own).
        stage: where.
        reason: one or two sentences for a person, at most 2000 characters, free of secrets.
        terminal: false when a fresh attempt at the whole rollout may succeed.
    """

    def __init__(self, kind: str, stage: Stage, reason: str, *, terminal: bool = True) -> None:
        self.kind, self.stage, self.reason, self.terminal = str(kind), Stage(stage), reason[:2000], terminal
        super().__init__(f"{self.stage}: {self.kind}: {self.reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.kind, self.stage, self.reason, self.terminal)


def _rebuild(kind: str, stage: Stage, reason: str, terminal: bool) -> RolloutError:
    return RolloutError(kind, stage, reason, terminal=terminal)


class MaskRollout(Exception):
    """Raised by a verifier that cannot judge this rollout (a judge failed, a service was away).

    The rollout is kept, its reward is not invented, trainers skip it. ``kind`` and ``reason`` are recorded.
    """

    def __init__(self, kind: str, reason: str) -> None:
        self.kind, self.reason = str(kind), reason[:2000]
        super().__init__(f"{kind}: {reason}")

    def __reduce__(self) -> tuple[object, ...]:
        return MaskRollout, (self.kind, self.reason)


def describe(error: BaseException) -> str:
    """``TypeName: message`` in one line, for records and messages (never a traceback, at most 500 chars)."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
