"""One failed attempt at a model call: what went wrong, and what may be done about it.

A :class:`CallFailure` lives inside the client only. When attempts or time are spent it leaves as the
plain :class:`RolloutError` it is built on.
"""

from __future__ import annotations

from gym_ray.types.errors import FailureKind, RolloutError, Stage


class CallFailure(RolloutError):
    """An attempt that failed.

    Attributes:
        retry: the same request may succeed later.
        overload: the endpoint had too much to do (429, 503, no answer in time): send less at once.
        retry_after: seconds the server asked us to wait, or None.
        lost: nobody listens at this address; another one may serve.
        paused: the model is paused on purpose: neither an attempt nor any of the call's time was spent.
    """

    def __init__(
        self,
        kind: str,
        reason: str,
        *,
        terminal: bool = False,
        retry: bool = True,
        overload: bool = False,
        retry_after: float | None = None,
        lost: bool = False,
        paused: bool = False,
    ) -> None:
        super().__init__(kind, Stage.MODEL, reason, terminal=terminal)
        self.retry, self.overload, self.retry_after, self.lost = retry, overload, retry_after, lost
        self.paused = paused


def invalid_reply(reason: str) -> CallFailure:
    """A 200 whose body is no answer. Tried again: it is mostly a proxy or a dying server that speaks."""
    return CallFailure(FailureKind.MODEL_INVALID_RESPONSE, reason)


def unsupported(what: str) -> RolloutError:
    """Something in the request that the dialect cannot carry. Never dropped in silence."""
    reason = f"{what} cannot be sent over Chat Completions"
    return RolloutError(FailureKind.MODEL_REJECTED_REQUEST, Stage.MODEL, reason)
