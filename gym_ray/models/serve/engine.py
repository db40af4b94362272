"""The two things a replica can be built on.

A :class:`Engine` turns prompt ids into sampled ids; templates, parsers and bookkeeping around it are ours
(:class:`gym_ray.models.serve.policy.Policy`). A :class:`Responder` answers a whole turn by itself; scripted
models in benchmarks and tests are one, and so is ``Policy``. Whichever class ``model.serve.engine`` names is
constructed with the :class:`~gym_ray.models.config.ModelConfig`: in the deploying process, to check its
settings, and in each replica, where :meth:`Lifecycle.start` then does the work.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from gym_ray.models.serve.certain import Said

Turn = dict[str, Any]
"""One model call as JSON: ``params``, ``items``, ``session``, ``covered``, ``prefix`` (see :mod:`.app`)."""


@dataclass(slots=True)
class Generation:
    """What the engine sampled for one prompt.

    ``ids``: sampled ids, the stop token included. ``logprobs``: natural-log probability of each of them.
    ``stopped``: ended at a stop token or string; false: cut by the token limit. ``stop_text``: the stop
    string that ended it, if one did. ``cached``: prompt tokens found in the prefix cache. ``version``:
    policy version that sampled, one int, or one per id. ``top``: for each id the most likely ones at its
    place with their logprobs, if they were asked for. ``overall``: on the last piece of a stream, ``version`` of
    the whole call, which is exact where that of the pieces is that of the moment they were read.
    """

    ids: list[int]
    logprobs: list[float]
    stopped: bool
    cached: int = 0
    stop_text: str | None = None
    version: int | list[int] = 0
    top: list[dict[int, float]] | None = None
    overall: int | list[int] | None = None

    def extend(self, piece: Generation) -> None:
        """Add what the same call sampled next; how it ended is the later one's word."""
        if not self.ids or piece.overall is not None:
            self.version = piece.version
        elif self.version != piece.version or isinstance(piece.version, list):
            self.version = _per_id(self) + _per_id(piece)
        self.ids += piece.ids
        self.logprobs += piece.logprobs
        self.top = None if piece.top is None else (self.top or []) + piece.top
        self.stopped, self.stop_text, self.cached = piece.stopped, piece.stop_text, max(self.cached, piece.cached)


def _per_id(generation: Generation) -> list[int]:
    version = generation.version
    return version if isinstance(version, list) else [version] * len(generation.ids)


@dataclass(slots=True)
class Piece:
    """A part of a reply that is still being sampled.

    ``said``: certain text, as (``thought`` or ``text``, characters). ``ids``, ``logprobs``, ``top``: what was
    sampled for it or ahead of it. ``prompt``: the prompt's ids, on the first. ``reply``: the whole, on the last.
    """

    said: list[Said] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[dict[int, float]] | None = None
    prompt: list[int] | None = None
    reply: dict[str, Any] | None = None


class Lifecycle(Protocol):
    """What every replica can be asked."""

    async def start(self) -> None:
        """Come up, ready for full speed."""
        ...

    async def health(self) -> None:
        """Raise when broken beyond repair; the replica is then replaced."""
        ...

    async def stop(self) -> None:
        """Release everything, child processes included."""
        ...


@runtime_checkable
class Engine(Lifecycle, Protocol):
    """Prompt ids in, sampled ids out. The attributes are valid after :meth:`start`."""

    tokenizer: Any
    """A Hugging Face tokenizer."""
    max_len: int
    """Context window: prompt and sampled tokens together."""
    stop_ids: Sequence[int]
    """Tokens that end a turn."""

    async def generate(self, prompt: list[int], sampling: dict[str, Any], request_id: str) -> Generation:
        """Sample once. ``sampling``: see :func:`gym_ray.models.serve.sampling.sampling_fields`.

        Cancelling the call aborts the request in the engine.

        Raises:
            ValueError: the engine refuses these parameters.
        """
        ...

    def stream(self, prompt: list[int], sampling: dict[str, Any], request_id: str) -> AsyncGenerator[Generation, None]:
        """The same as it goes: each piece holds what is new, and together they are what ``generate`` gives.

        Closing the iterator aborts the request.
        """
        ...


@runtime_checkable
class Responder(Lifecycle, Protocol):
    """Answers whole turns.

    May also have ``token_texts(ids) -> list[str]``: the text of each id, for the logprobs of Chat Completions;
    and ``stream(turn) -> AsyncGenerator[Piece, None]``: the same reply as it comes. Without it a stream has one piece.
    ``live``: the :class:`~gym_ray.models.serve.live.Live` engine behind it, or None.
    """

    async def respond(self, turn: Turn) -> dict[str, Any]:
        """The reply as JSON: ``items``, ``finish_reason``, ``usage``, ``tokens``.

        Raises:
            RolloutError: this turn cannot be answered.
        """
        ...
