"""The two things a replica can be built on.

A :class:`Engine` turns prompt ids into sampled ids; templates, parsers and bookkeeping around it are ours
(:class:`gym_ray.models.serve.policy.Policy`). A :class:`Responder` answers a whole turn by itself; scripted
models in benchmarks and tests are one, and so is ``Policy``. Whichever class ``model.serve.engine`` names is
constructed with the :class:`~gym_ray.models.config.ModelConfig`: in the deploying process, to check its
settings, and in each replica, where :meth:`Lifecycle.start` then does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Turn = dict[str, Any]
"""One model call as JSON: ``params``, ``items``, ``session``, ``covered``, ``prefix`` (see :mod:`.app`)."""


@dataclass(slots=True)
class Generation:
    """What the engine sampled for one prompt.

    ``ids``: sampled ids, the stop token included. ``logprobs``: natural-log probability of each of them.
    ``stopped``: ended at a stop token or string; false: cut by the token limit. ``stop_text``: the stop
    string that ended it, if one did. ``cached``: prompt tokens found in the prefix cache. ``version``:
    policy version that sampled, one int, or one per id.
    """

    ids: list[int]
    logprobs: list[float]
    stopped: bool
    cached: int = 0
    stop_text: str | None = None
    version: int | list[int] = 0


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


@runtime_checkable
class Responder(Lifecycle, Protocol):
    """Answers whole turns.

    May also have ``token_texts(ids) -> list[str]``: the text of each id, for the logprobs of Chat Completions.
    """

    async def respond(self, turn: Turn) -> dict[str, Any]:
        """The reply as JSON: ``items``, ``finish_reason``, ``usage``, ``tokens``.

        Raises:
            RolloutError: this turn cannot be answered.
        """
        ...
