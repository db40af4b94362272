"""Backoff bounds and Retry-After."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gym_ray.models.retry import RetryPolicy, parse_retry_after

POLICY = RetryPolicy(max_attempts=6, base_s=0.5, max_s=30.0)
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_lies_between_zero_and_the_capped_exponential(failed: int, draw: float) -> None:
    assert 0 <= POLICY.delay(failed, None, draw) <= min(30.0, 0.5 * 2.0 ** min(failed - 1, 100))


@given(st.integers(1, 20), st.floats(0, 3600), st.floats(0, 1, exclude_max=True))
def test_retry_after_is_never_undercut(failed: int, asked: float, draw: float) -> None:
    delay = POLICY.delay(failed, asked, draw)
    assert asked <= delay <= max(30.0, asked + 0.5)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("Sun, 01 Mar 2026 12:01:30 GMT", 90.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
        (None, None),
    ],
)
def test_reads_seconds_and_dates(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds
