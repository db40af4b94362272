"""``model=nim`` against servers that answer as NVIDIA NIMs do: the hosted ones, NIM 1, and NIM 2, which runs vLLM.

Bodies of errors: as the hosted API gives them (``status``, ``title``, ``detail``), and NIM 1 (``object: error``).
"""

from __future__ import annotations

from typing import Any

import pytest

from gym_ray.cli.compose import compose_settings
from gym_ray.collect.config import RunConfig
from gym_ray.models.config import ModelConfig
from gym_ray.types.errors import FailureKind, UserError
from gym_ray.types.items import final_text
from tests.models.test_remote import QUICK, ask, error_of, reply_of
from tests.support.endpoint import Endpoint, Fault

KEY = "nvapi-veryverysecret0123456789"
NAME = "meta/llama-3.3-70b-instruct"
GUIDED = {"nvext": {"guided_choice": ["A", "B"]}}


def nim(base_url: str, **fields: Any) -> ModelConfig:
    """The settings as a user composes them, with a retry that does not wait."""
    words = ["env=mcqa", "model=nim", f"model.name={NAME}", f"model.base_url={base_url}", "run_dir=unused"]
    config, _ = compose_settings(words, RunConfig)
    return config.model.model_copy(update={"retry": QUICK, **fields})


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", KEY)


async def test_a_hosted_model_sees_the_key_and_no_unusual_field() -> None:
    async with Endpoint(owned_by="meta", tokens="vllm") as endpoint:
        reply = await reply_of(nim(endpoint.base_url), ask("hi", temperature=0.5, max_output_tokens=9))
        (call,) = endpoint.calls
    assert (final_text(reply.items), reply.tokens) == ("hi", None)
    assert call.route == "/chat/completions"
    assert call.headers["Authorization"] == f"Bearer {KEY}"
    asked = {"model": NAME, "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "max_tokens": 9}
    assert call.body == asked


async def test_a_nim_on_vllm_gives_exact_tokens() -> None:
    async with Endpoint(owned_by="vllm", tokens="vllm") as endpoint:
        reply = await reply_of(nim(endpoint.base_url), ask("hi"))
    assert reply.tokens is not None
    assert len(reply.tokens.sampled) == len(reply.tokens.logprobs) > 0


async def test_guided_decoding_is_passed_as_it_is() -> None:
    async with Endpoint(owned_by="system") as endpoint:
        await reply_of(nim(endpoint.base_url, extra_body=GUIDED))
        assert endpoint.calls[0].body["nvext"] == GUIDED["nvext"]


REFUSED = "Extra inputs are not permitted: nvext"


@pytest.mark.parametrize(
    ("fault", "said", "kind"),
    [
        (
            Fault(400, {"object": "error", "message": REFUSED, "type": "BadRequestError", "param": None, "code": 400}),
            REFUSED,
            FailureKind.MODEL_REJECTED_REQUEST,
        ),
        (
            Fault(404, {"status": 404, "title": "Not Found", "detail": "Function 'f': Not found for account 'a'"}),
            "Not found for account",
            FailureKind.MODEL_REJECTED_REQUEST,
        ),
        (
            Fault(403, {"status": 403, "title": "Forbidden", "detail": f"Authorization failed for {KEY}"}),
            "Authorization failed",
            FailureKind.MODEL_REJECTED_REQUEST,
        ),
    ],
)
async def test_a_refusal_is_final_and_says_what_the_server_said(fault: Fault, said: str, kind: FailureKind) -> None:
    async with Endpoint(lambda call: fault, owned_by="system") as endpoint:
        error = await error_of(nim(endpoint.base_url, extra_body=GUIDED))
        assert len(endpoint.calls) == 1
    assert (error.kind, error.terminal) == (kind, True)
    assert said in error.reason
    assert KEY not in error.reason


@pytest.mark.parametrize("retry_after", ["0.01", None])
async def test_too_many_requests_are_asked_again(retry_after: str | None) -> None:
    busy = Fault(429, {"status": 429, "title": "Too Many Requests"}, retry_after=retry_after)
    async with Endpoint(lambda call: "yes" if call.number > 1 else busy, owned_by="meta") as endpoint:
        reply = await reply_of(nim(endpoint.base_url))
        assert final_text(reply.items) == "yes"
        endpoint.script = lambda call: busy
        error = await error_of(nim(endpoint.base_url))
    assert (error.kind, error.terminal) == (FailureKind.PROVIDER_QUOTA_EXHAUSTED, False)
    assert "Too Many Requests" in error.reason


async def test_a_nim_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_API_KEY")
    async with Endpoint(owned_by="system") as endpoint:
        with pytest.raises(UserError, match="NVIDIA_API_KEY is not set"):
            await reply_of(nim(endpoint.base_url))
        await reply_of(nim(endpoint.base_url, api_key_env=None))
        assert "Authorization" not in endpoint.calls[0].headers
