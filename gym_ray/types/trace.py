"""What is traced now, as W3C trace context: how a tool or a model's server joins the trace of a rollout.

Set while a model is asked and while a tool runs, where tracing is on (``collect.trace``). Calls to models carry it as
the header ``traceparent``; so may a tool's own requests::

    await session.get(url, headers={"traceparent": traceparent()})

The format is https://www.w3.org/TR/trace-context/#traceparent-header.
"""

from __future__ import annotations

from contextvars import ContextVar

CURRENT: ContextVar[str] = ContextVar("traceparent", default="")


def traceparent() -> str:
    """The header's value; empty where nothing is traced."""
    return CURRENT.get()
