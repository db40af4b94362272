"""Sampling parameters: from a request to what the engine is told.

What the request does not say is the neutral value (temperature 1, top_p 1, no penalties): recommendations
that travel with the weights are not applied behind the user's back, so a logprob always belongs to the
parameters on record. A field that nobody reads is refused, because a misspelt one would otherwise change
nothing in silence. Values have their types checked here: a wrong one would break the engine for everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gym_ray.types.errors import FailureKind, RolloutError, Stage

Check = Callable[[Any], bool]
_INT64 = 1 << 63


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e9


def _int32(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 31


def _int64(value: Any) -> bool:
    return type(value) is int and -_INT64 <= value < _INT64


def _list(value: Any, check: Check) -> bool:
    return isinstance(value, list) and all(map(check, value))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, str) or _list(value, _text)


def _biases(value: Any) -> bool:
    return isinstance(value, dict) and all(str(key).isdecimal() and _number(one) for key, one in value.items())


ENGINE_FIELDS: dict[str, tuple[Check, str]] = {
    **dict.fromkeys(
        ("frequency_penalty", "min_p", "presence_penalty", "repetition_penalty", "temperature", "top_p"),
        (_number, "a number"),
    ),
    **dict.fromkeys(("min_tokens", "top_k"), (_int32, "an integer")),
    **dict.fromkeys(
        ("allowed_token_ids", "stop_token_ids"), (lambda value: _list(value, _int32), "a list of token ids")
    ),
    "bad_words": (lambda value: _list(value, _text), "a list of strings"),
    "ignore_eos": (lambda value: isinstance(value, bool), "true or false"),
    "logit_bias": (_biases, "an object of token ids and numbers"),
    "seed": (_int64, "an integer of 64 bits"),
    "stop": (_texts, "a string, or a list of strings"),
    "structured_outputs": (lambda value: isinstance(value, dict), "an object"),
}
"""Fields that go to vLLM's ``SamplingParams``, each with what its value must be."""
READ_ELSEWHERE = frozenset(
    {
        "chat_template_kwargs",
        "max_tokens",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
WITHOUT_EFFECT = frozenset(
    {
        "logprobs",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Fields of the OpenAI API that ask nothing of this deployment (sampled logprobs are always returned)."""


def rejected(reason: str) -> RolloutError:
    """A request that repeating cannot mend."""
    return RolloutError(FailureKind.MODEL_REJECTED_REQUEST, Stage.MODEL, reason)


def sampling_fields(body: dict[str, Any], room: int) -> dict[str, Any]:
    """Keyword arguments of vLLM's ``SamplingParams``.

    ``body``: the request in Chat Completions form, nulls left out. ``room``: tokens that still fit the window.

    Raises:
        RolloutError: a field that this deployment does not know or cannot honour, or a value of a wrong type.
    """
    sampling: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0}
    for key, value in body.items():
        known = ENGINE_FIELDS.get(key)
        if known is not None:
            if not known[0](value):
                raise rejected(f"`{key}` must be {known[1]}, not {value!r}"[:200])
            sampling[key] = value
        elif key not in READ_ELSEWHERE and key not in WITHOUT_EFFECT and not (key == "n" and value == 1):
            more = ": it samples one answer per call" if key == "n" else ""
            raise rejected(f"this deployment cannot honour {key}={value!r}"[:200] + more)
    if "logit_bias" in sampling:
        sampling["logit_bias"] = {int(token): bias for token, bias in sampling["logit_bias"].items()}
    sampling["max_tokens"] = min(_count(body, "max_tokens", room), room)
    top = _count(body, "top_logprobs", 0)
    if top:
        sampling["logprobs"] = top
    constraint = _constraint(body.get("response_format") or {})
    if constraint:
        sampling["structured_outputs"] = constraint
    return sampling


def _count(body: dict[str, Any], key: str, default: int) -> int:
    value = body.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # tables write counts so
    if value is None:
        return default
    if not _int32(value) or (value < 0 and key in body):
        raise rejected(f"`{key}` must be a count, not {value!r}"[:200])
    return int(value)


def _constraint(wanted: dict[str, Any]) -> dict[str, Any]:
    kind = wanted.get("type", "text")
    if kind == "json_schema":
        return {"json": wanted["json_schema"]["schema"]}
    if kind not in ("json_object", "text"):
        raise rejected(f"`response_format` of type {kind!r} is not among text, json_object and json_schema")
    return {"json_object": True} if kind == "json_object" else {}
