"""What a hosted server did not get, and what that means for its reward."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import aiohttp
import httpx
import pytest
import requests

from gym_ray.integrations.nemo_gym.outside import Exchange, route_clients, watched
from gym_ray.integrations.nemo_gym.server import reward_of
from gym_ray.integrations.nemo_gym.watching import watch_programs
from gym_ray.types.errors import MaskRollout

ROW = {"responses_create_params": {"input": "2+2?"}, "expected": "4", "kept": 1}


async def echo(route: str, body: dict[str, Any]) -> dict[str, Any]:
    if body.get("fail"):
        raise OSError("no route")
    return {"route": route, "body": body}


async def test_a_bound_model_is_called_whatever_the_prefix() -> None:
    exchange, notes = Exchange({"judge_model": echo}), list[str]()
    with watched(notes):
        url = "http://judge_model.inproc:1/ng-rollout/r1/v1/chat/completions"
        reply = await exchange.request("POST", url, data=b'{"n": 1}')
    assert (reply.status, notes) == (200, [])
    assert await reply.json() == {"route": "/v1/chat/completions", "body": {"n": 1}}
    assert await reply.content.read() == await reply.read()


@pytest.mark.parametrize(
    ("url", "body", "noted"),
    [
        ("http://other.inproc:1/v1/responses", {}, "judge_failed: no model is bound to `other`"),
        ("http://judge_model.inproc:1/v1/responses", {"fail": True}, "judge_failed: judge_model: OSError: no route"),
    ],
)
async def test_what_fails_is_an_answer_and_a_note(url: str, body: dict[str, Any], noted: str) -> None:
    exchange, notes = Exchange({"judge_model": echo}), list[str]()
    with watched(notes):
        reply = await asyncio.create_task(exchange.request("POST", url, json=body))
    assert reply.status == 424
    assert not reply.ok
    assert notes[0].startswith(noted)
    with pytest.raises(aiohttp.ClientResponseError):
        reply.raise_for_status()


async def test_other_clients_reach_an_instance_too() -> None:
    route_clients(Exchange({"judge_model": echo}))
    async with httpx.AsyncClient() as client:
        reply = await client.post("http://judge_model.inproc:1/v1/responses", json={"n": 1})
    assert reply.json() == {"route": "/v1/responses", "body": {"n": 1}}


def test_an_instance_is_up_for_who_asks() -> None:
    route_clients(Exchange({}))
    assert requests.get("http://judge_model.inproc:1", timeout=1).ok


async def test_a_missing_program_is_noted_for_the_session_that_wanted_it() -> None:
    watch_programs()
    watch_programs()
    mine, other = list[str](), list[str]()
    with watched(other):
        assert (await asyncio.to_thread(subprocess.run, ["true"], check=False)).returncode == 0
    with watched(mine), pytest.raises(FileNotFoundError):
        await asyncio.create_subprocess_exec("no-such-program-here")
    with pytest.raises(FileNotFoundError):
        await asyncio.to_thread(subprocess.run, ["no-such-program-here"], check=False)  # outside of any session
    assert other == []
    assert len(mine) == 1
    assert mine[0].startswith("provider_unavailable: no program: FileNotFoundError")


def test_a_verdict_keeps_the_servers_own_fields_only() -> None:
    answer = {
        **ROW,
        "kept": 2,
        "reward": 0.5,
        "reward_components": {"a": 0.5},
        "response": {},
        "mask_sample": False,
        "failure_kind": None,
        "_ng_task_index": 3,
        "extracted": "4",
    }
    reward = reward_of(answer, ROW, [])
    assert (reward.value, reward.components) == (0.5, {"a": 0.5})
    assert reward.extra == {"kept": 2, "extracted": "4"}


@pytest.mark.parametrize(
    ("answer", "trouble", "kind", "words"),
    [
        ({"reward": 0.0, "mask_sample": True, "failure_kind": "judge_failed"}, [], "judge_failed", "masked by"),
        ({"reward": 0.0, "_ng_failure_class": "judge_failed"}, [], "judge_failed", "masked by"),
        ({"reward": 0.0, "instance_config": {"mask_sample": True}}, ["judge_failed: gone"], "judge_failed", "gone"),
        ({"reward": None}, [], "verifier_error", "no reward but None"),
        ({"reward": True}, [], "verifier_error", "no reward but True"),
        ({"reward": 0.0}, ["provider_unavailable: sandbox: gone"], "provider_unavailable", "sandbox: gone"),
    ],
)
def test_what_is_no_verdict_masks(answer: dict[str, Any], trouble: list[str], kind: str, words: str) -> None:
    with pytest.raises(MaskRollout, match=words) as caught:
        reward_of(answer, ROW, trouble)
    assert caught.value.kind == kind


def test_trouble_does_not_take_a_reward_that_was_earned() -> None:
    assert reward_of({"reward": 1.0}, ROW, ["judge_failed: gone"]).value == 1.0
    assert reward_of({"reward": 0}, ROW, []).value == 0.0
