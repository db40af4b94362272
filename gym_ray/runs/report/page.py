"""The page itself: one HTML file with its style, its script and, for a report, its data inside.

Invariants: nothing is fetched from outside, and the page's policy forbids it: script and style are named by their
hashes, and any other is refused. Data is JSON in an inert block in which no ``<`` occurs, so nothing in it can end
the block or begin a tag.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import orjson

SCRIPTS = ("dom", "format", "chart", "source", "overview", "list", "conversation", "tokens", "rollout", "app")
"""The script's parts, in order."""
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Page:
    """``html``: the page. ``headers``: what a server sends with it."""

    html: bytes
    headers: dict[str, str]


def report_page(data: dict[str, Any]) -> Page:
    """The page of a report. ``data``: JSON values."""
    return _page(data, "'none'")


def live_page() -> Page:
    """The page that asks a server."""
    return _page(None, "'self'")


def _page(data: dict[str, Any] | None, connect: str) -> Page:
    script, style = _asset_script(), _asset("page.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; connect-src {connect}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    html = _asset("page.html")
    parts = {"POLICY": policy, "STYLE": style, "SCRIPT": script, "DATA": inert_json(data)}
    head, *rest = html.split("{{")
    for piece in rest:
        name, _, after = piece.partition("}}")
        head += parts[name] + after
    return Page(head.encode(), {"content-security-policy": f"{policy}; frame-ancestors 'none'", **_HEADERS})


def inert_json(value: Any) -> str:
    """JSON that can stand in a ``script`` block: ``<``, ``>`` and ``&`` are escaped, which JSON allows in texts only,
    and they occur nowhere else."""
    text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def _asset(name: str) -> str:
    return files("gym_ray.runs.report").joinpath("static", name).read_text("utf-8")


@cache
def _asset_script() -> str:
    return "'use strict';\n" + "\n".join(_asset(f"{name}.js") for name in SCRIPTS)


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
