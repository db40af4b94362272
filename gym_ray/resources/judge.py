"""Judges: models that a verifier asks, under the same budgets as any model call.

An environment says which it needs, ``judge_roles = ("judge",)``, and asks ``self.judge`` (with several roles
``self.judges["role"]``). Which model that is, and where it runs, is the run's configuration: ``judges.NAME``, chosen
by ``envs.NAME.judge``; :data:`POLICY` is the policy's own deployment. The client comes from above (:class:`Judges`),
so that nothing here knows models.

Invariant: a judgement that was not had is never a score. A call that fails masks the rollout as ``judge_failed``, an
answer that is empty, cut off or unreadable as ``judge_unparseable``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, UserError
from gym_ray.types.items import Item, final_text, user_message
from gym_ray.types.trajectory import FinishReason, Usage

DEFAULT, POLICY = "default", "policy"
"""Names of judges: the one that environments take unless told otherwise, and the policy's own deployment."""
ROLE = "judge"
"""The role of an environment's only judge."""
_THOUGHT_ENDS = "</think>"


@dataclass(slots=True)
class JudgeReply:
    """What a judge's model answered: output items, why it ended, tokens."""

    items: list[Item]
    finish_reason: FinishReason = FinishReason.STOP
    usage: Usage = field(default_factory=Usage)


class JudgeModel(Protocol):
    """A client of one judge's model. Belongs to one event loop."""

    async def respond(self, items: list[Item], params: Mapping[str, Any]) -> JudgeReply:
        """Answer a conversation. ``params``: Responses create parameters, over the judge's own ``sampling``.

        Raises:
            RolloutError: its deadline or retry budget is spent, or the request cannot be sent.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class Judges(Protocol):
    """The judges of a run. Picklable."""

    def __contains__(self, name: object) -> bool:
        """Whether there is such a judge."""
        ...

    def open(self, name: str) -> JudgeModel:
        """A new client, for the event loop that runs here. Whoever asked for it closes it."""
        ...


@dataclass(slots=True)
class JudgeUsage:
    """What judging cost. ``seconds``: summed over calls, also when they ran side by side."""

    calls: float = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    seconds: float = 0.0

    def record(self, sharers: int = 1) -> dict[str, float]:
        """Fields for the row; the members of a group share what was spent on all of them."""
        return {
            "calls": self.calls / sharers,
            "prompt_tokens": self.prompt_tokens / sharers,
            "completion_tokens": self.completion_tokens / sharers,
            "seconds": self.seconds / sharers,
        }


_meter: ContextVar[JudgeUsage | None] = ContextVar("judge_meter", default=None)


@contextmanager
def metered(usage: JudgeUsage) -> Iterator[None]:
    """Judges asked within (also by tasks begun within) are counted in ``usage``."""
    token = _meter.set(usage)
    try:
        yield
    finally:
        _meter.reset(token)


class Judge:
    """What an environment asks. ``name``: the judge's in the run's configuration."""

    def __init__(self, name: str, model: JudgeModel) -> None:
        self.name, self._model = name, model

    async def ask(self, prompt: str | list[Item], params: Mapping[str, Any] | None = None) -> str:
        """The judge's final text, without what it thought. ``prompt``: a user's message, or a conversation.

        Raises:
            MaskRollout: ``judge_failed``; ``judge_unparseable`` for no text, or one cut at its token limit.
        """
        reply = await self.respond([user_message(prompt)] if isinstance(prompt, str) else prompt, params)
        if reply.finish_reason is FinishReason.CONTEXT_WINDOW:
            raise MaskRollout(FailureKind.JUDGE_FAILED, f"the prompt does not fit the context window of `{self.name}`")
        if reply.finish_reason is FinishReason.LENGTH:
            raise MaskRollout(FailureKind.JUDGE_UNPARSEABLE, f"judge `{self.name}` was cut at its token limit")
        text = final_text(reply.items).rpartition(_THOUGHT_ENDS)[2].strip()
        if not text:
            raise MaskRollout(FailureKind.JUDGE_UNPARSEABLE, f"judge `{self.name}` gave no text")
        return text

    async def respond(self, items: list[Item], params: Mapping[str, Any] | None = None) -> JudgeReply:
        """The judge's whole answer.

        Raises:
            MaskRollout: ``judge_failed``.
        """
        usage, began = _meter.get(), time.perf_counter()
        try:
            reply = await self._model.respond(items, params or {})
        except RolloutError as error:
            raise MaskRollout(FailureKind.JUDGE_FAILED, f"judge `{self.name}`: {error.kind}: {error.reason}") from None
        finally:
            if usage is not None:
                usage.calls += 1
                usage.seconds += time.perf_counter() - began
        if usage is not None:
            usage.prompt_tokens += reply.usage.prompt_tokens
            usage.completion_tokens += reply.usage.completion_tokens
        return reply

    async def close(self) -> None:
        """Close connections."""
        await self._model.close()


def judge_names(environment: str, roles: Iterable[str], chosen: str, known: Judges | None) -> dict[str, str]:
    """Which judge serves each role: ``chosen``, but another role than ``judge`` has one of its own name if there is.

    Raises:
        UserError: there is none.
    """
    names = {role: role if role != ROLE and known is not None and role in known else chosen for role in roles}
    missing = sorted(name for name in set(names.values()) if known is None or name not in known)
    if missing:
        # The words that mend it: `judge=` sets the default one.
        key = "judge" if missing[0] == DEFAULT else f"judges.{missing[0]}"
        mend = f"{key}=openai {key}.base_url=http://host:port/v1 {key}.name=MODEL, or judge={POLICY} (the policy's own)"
        raise UserError(f"environment `{environment}` asks the judge `{missing[0]}`, and there is none: {mend}")
    return names
