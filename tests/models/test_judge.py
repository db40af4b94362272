"""A judge is a model client: settings, the environment's parameters above them, the endpoint's failures."""

from __future__ import annotations

import pickle

import pytest

from gym_ray.models.config import ModelConfig
from gym_ray.models.judge import JudgeTable
from gym_ray.resources.judge import Judge
from gym_ray.types.errors import FailureKind, MaskRollout
from tests.support.endpoint import Endpoint, Fault, Say


def table(base_url: str, **settings: object) -> JudgeTable:
    config = ModelConfig.model_validate(
        {"base_url": base_url, "name": "j", "retry": {"max_attempts": 2, "base_s": 0.01}, **settings}
    )
    return JudgeTable({"default": (config, None)})


async def test_the_environments_parameters_stand_over_the_judges_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sesame-123456")
    async with Endpoint(lambda call: Say("fine", reasoning="hm", tokens=([1], [2], [0.0]))) as endpoint:
        judges = table(
            endpoint.base_url,
            api_key_env="JUDGE_KEY",
            dialect="chat",
            sampling={"temperature": 1.0, "top_p": 0.9},
            sampling_overrides={"max_output_tokens": 7},
        )
        data = pickle.dumps(judges)
        assert b"sesame" not in data, "the key stays in the environment"
        judge = Judge("default", pickle.loads(data).open("default"))
        assert await judge.ask("who wins?", {"temperature": 0.0, "max_output_tokens": 99}) == "fine"
        genrm = [{"role": "user", "content": "?"}, {"role": "response_1", "content": "a"}]
        assert await judge.ask([*genrm, {"role": "principle", "content": "p"}]) == "fine"
        await judge.close()
        first, second = endpoint.calls
    assert first.headers["Authorization"] == "Bearer sesame-123456"
    assert (first.body["temperature"], first.body["top_p"], first.body["max_tokens"]) == (0.0, 0.9, 7)
    assert first.body["messages"] == [{"role": "user", "content": "who wins?"}]
    assert [message["role"] for message in second.body["messages"]] == ["user", "response_1", "principle"]


async def test_an_endpoint_that_stays_down_is_tried_as_often_as_told_and_then_masks() -> None:
    async with Endpoint(lambda call: Fault(503)) as endpoint:
        judge = Judge("default", table(endpoint.base_url, dialect="chat").open("default"))
        with pytest.raises(MaskRollout, match=r"judge `default`.*gave up after 2 attempts") as masked:
            await judge.ask("?")
        await judge.close()
        assert len(endpoint.calls) == 2
    assert masked.value.kind == FailureKind.JUDGE_FAILED
