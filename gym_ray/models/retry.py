"""When to try again: exponential backoff with full jitter, bounded by attempts and by a deadline.

The policy is a frozen value and its functions are pure (the random draw is an argument), so that its
bounds can be tested. "Full jitter" draws uniformly between zero and the exponential step, which spreads
out callers that failed together. Source: Brooker, "Exponential Backoff and Jitter", AWS 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gym_ray.models.config import RetryConfig


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """``max_attempts``: tries in all. ``base_s``: first backoff step in seconds. ``max_s``: longest step."""

    max_attempts: int
    base_s: float
    max_s: float

    @classmethod
    def of(cls, config: RetryConfig) -> RetryPolicy:
        """The policy that settings describe."""
        return cls(config.max_attempts, config.base_s, config.max_s)

    def delay(self, failed: int, retry_after: float | None, draw: float) -> float:
        """Seconds to wait after the ``failed``-th failure (1 or more), for a ``draw`` from [0, 1).

        A longer ``retry_after`` wins; a little jitter on top keeps those who were all told the same
        second from coming back together.
        """
        # The exponent is capped because 2.0 ** 1024 overflows.
        step = min(self.max_s, self.base_s * 2.0 ** min(failed - 1, 60))
        backoff = draw * step
        if retry_after is None or retry_after <= backoff:
            return backoff
        return retry_after + draw * min(self.base_s, retry_after)


def parse_retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a ``Retry-After`` header: a number of seconds or an HTTP date (RFC 9110 10.2.3).

    None for an absent or unreadable header; never negative.
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _until(header, now or datetime.now(UTC))
    return max(0.0, seconds) if seconds < float("inf") else None


def _until(date: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return float("nan")
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
