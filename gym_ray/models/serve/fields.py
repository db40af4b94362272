"""Fields of OpenAI requests: which are read, which are refused, which are ignored.

What would change the answer and cannot be done is refused by name, with what to do instead. What this server
does not know is ignored, as OpenAI-compatible servers do, and told once in the replica's log. Sources: the
OpenAI API reference; vLLM's ``ChatCompletionRequest`` and ``ResponsesRequest``. Table: docs/http.md.
"""

from __future__ import annotations

import logging
from array import array
from typing import Any

from gym_ray.models.chat import TRANSLATED
from gym_ray.models.serve.sampling import ENGINE_FIELDS, READ_ELSEWHERE, WITHOUT_EFFECT, rejected

Json = dict[str, Any]
log = logging.getLogger(__name__)

_NOT_PARAMS = frozenset({"input", "instructions", "messages", "model", "stream", "stream_options"})
_STATELESS = "this server keeps nothing between calls: send the whole conversation"
_CONSTRAIN = "use `response_format` or `structured_outputs`"
_TEMPLATE = "the template belongs to the deployment: see model.serve.chat_template and `chat_template_kwargs`"
_REFUSED: dict[str, tuple[str, Any]] = {
    "add_generation_prompt": (_TEMPLATE, True),
    "background": (_STATELESS, False),
    "best_of": ("this server samples one answer per call", 1),
    "chat_template": (_TEMPLATE, None),
    "continue_final_message": ("an answer cannot be begun for the model", False),
    "conversation": (_STATELESS, None),
    "documents": ("put documents into the messages", None),
    "echo": ("only what the model said is returned", False),
    "function_call": ("use `tool_choice`", None),
    "functions": ("use `tools`", None),
    "guided_choice": (_CONSTRAIN, None),
    "guided_grammar": (_CONSTRAIN, None),
    "guided_json": (_CONSTRAIN, None),
    "guided_regex": (_CONSTRAIN, None),
    "include_stop_str_in_output": ("stop strings are left out of the text", False),
    "logprob_token_ids": ("use `top_logprobs`", None),
    "modalities": ("this server writes text", ["text"]),
    "n": ("this server samples one answer per call", 1),
    "previous_response_id": (_STATELESS, None),
    "prompt": ("there are no stored prompts here: send `input` and `instructions`", None),
    "prompt_logprobs": ("only sampled tokens have logprobs here", None),
    "thinking_token_budget": ("use `max_tokens`", None),
    "truncate_prompt_tokens": ("a prompt is never cut", None),
    "use_beam_search": ("this server samples", False),
}
"""Why a field is refused, and the value that asks for nothing."""
_READ = frozenset({*ENGINE_FIELDS, *READ_ELSEWHERE, *WITHOUT_EFFECT, *TRANSLATED, "max_completion_tokens"})
_SHAPES: dict[str, tuple[type, str]] = {
    **dict.fromkeys(
        ("chat_template_kwargs", "metadata", "reasoning", "response_format", "stream_options", "text"),
        (dict, "an object"),
    ),
    "tools": (list, "a list"),
}
_told: set[str] = set()


def turn_params(body: Json) -> Json:
    """The fields of a request that a turn can use, nulls left out.

    Raises:
        RolloutError: a field asks for what this server cannot do, or has another shape.
    """
    params = {}
    for key, value in body.items():
        if value is None:
            continue
        if key in _SHAPES and not isinstance(value, _SHAPES[key][0]):
            raise rejected(f"`{key}` must be {_SHAPES[key][1]}")
        if key in _NOT_PARAMS:
            continue
        if key in _REFUSED:
            why, neutral = _REFUSED[key]
            if value != neutral and value not in ([], {}, ""):
                raise rejected(f"`{key}` is not supported: {why}")
        elif key in _READ:
            params[key] = value
        elif key not in _told and len(_told) < 1000:
            _told.add(key)
            log.warning("requests have a field %.100r, which this server ignores", key)
    limit = params.pop("max_completion_tokens", None)
    return params if limit is None else {**params, "max_tokens": limit}


def token_ids(value: Any, name: str) -> list[int]:
    """``value``, if it is a list of token ids; checked in C, because histories are long.

    Raises:
        RolloutError: it is not.
    """
    try:
        if isinstance(value, list):
            array("I", value)
            return value
    except (TypeError, OverflowError):
        pass
    raise rejected(f"`{name}` must be a list of token ids")
