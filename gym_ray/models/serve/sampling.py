"""Sampling parameters: from a request to what the engine is told.

What the request does not say is the neutral value (temperature 1, top_p 1, no penalties): recommendations
that travel with the weights are not applied behind the user's back, so a logprob always belongs to the
parameters on record. A field that nobody reads is refused, because a misspelt one would otherwise change
nothing in silence.
"""

from __future__ import annotations

from typing import Any

from gym_ray.types.errors import FailureKind, RolloutError, Stage

ENGINE_FIELDS = frozenset(
    {
        "bad_words",
        "frequency_penalty",
        "ignore_eos",
        "logit_bias",
        "min_p",
        "min_tokens",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "stop_token_ids",
        "structured_outputs",
        "temperature",
        "top_k",
        "top_p",
    }
)
"""Fields that go to vLLM's ``SamplingParams`` as they are."""
READ_ELSEWHERE = frozenset(
    {
        "chat_template_kwargs",
        "max_tokens",
        "reasoning_effort",
        "response_format",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "tool_choice",
        "tools",
    }
)
WITHOUT_EFFECT = frozenset(
    {
        "logprobs",
        "parallel_tool_calls",
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

    ``body``: the request in Chat Completions form. ``room``: tokens that still fit the context window.

    Raises:
        RolloutError: a field that this deployment does not know, or cannot honour.
    """
    sampling: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0}
    for key, value in body.items():
        if key in ENGINE_FIELDS:
            sampling[key] = value
        elif key not in READ_ELSEWHERE and key not in WITHOUT_EFFECT and not _is_neutral(key, value):
            raise rejected(f"this deployment cannot honour {key}={value!r}"[:200])
    limit = body.get("max_tokens")
    sampling["max_tokens"] = room if limit is None else min(int(limit), room)
    constraint = _constraint(body.get("response_format") or {})
    if constraint:
        sampling["structured_outputs"] = constraint
    return sampling


def _is_neutral(key: str, value: Any) -> bool:
    return (key, value) in (("n", 1), ("top_logprobs", 0))


def _constraint(wanted: dict[str, Any]) -> dict[str, Any]:
    if wanted.get("type") == "json_schema":
        return {"json": wanted["json_schema"]["schema"]}
    return {"json_object": True} if wanted.get("type") == "json_object" else {}
