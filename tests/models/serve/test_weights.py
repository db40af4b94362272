"""Live weights across replicas, on a real Ray cluster: who gets them, who refuses, who comes back with them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gym_ray.models.config import ModelConfig, RetryConfig, ServeConfig
from gym_ray.models.protocol import ModelRequest
from gym_ray.models.serve import checkpoint, live
from gym_ray.models.turn import TurnModel
from gym_ray.types.errors import UserError
from gym_ray.types.items import item_text, user_message
from tests.support.processes import kill

pytestmark = pytest.mark.ray
ENGINE = "tests.models.serve.scripted:LiveModel"
APP = "live"


def weights(folder: Path, **tensors: list[int]) -> str:
    """A checkpoint with tensors of these shapes."""
    folder.mkdir(exist_ok=True)
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, folder / "model.safetensors")
    return str(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    weights(folder / "base", a=[2, 3], b=[4])
    (folder / "bad").write_text("")
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path) -> ModelConfig:
    arguments = {"bad": str(folder / "bad")}
    serve = ServeConfig(engine=ENGINE, engine_args=arguments, path=str(folder / "base"), num_replicas=2, num_cpus=0.1)
    return ModelConfig(kind="vllm", name="live", timeout_s=30.0, serve=serve)


@pytest.fixture(scope="module")
def endpoints(ray_cluster: Any, settings: ModelConfig) -> Iterator[Any]:
    from gym_ray.models.serve.deployment import deploy, undeploy

    yield deploy(settings, APP)
    undeploy(APP)


@pytest.fixture
def control(endpoints: Any) -> Any:
    from gym_ray.models.serve.control import ModelControl

    return ModelControl(APP, timeout_s=60.0)


@pytest.fixture
async def model(settings: ModelConfig, endpoints: Any) -> AsyncIterator[TurnModel]:
    client = TurnModel(settings, endpoints)
    yield client
    await client.close()


async def answers(model: TurnModel) -> dict[int, str]:
    """Pid of each replica that answers -> what it is made of."""
    found = {}
    for number in range(16):
        reply = await model.respond(ModelRequest({}, [user_message("?")], f"s{number}"))
        made_of, _, pid = item_text(reply.items[0]).rpartition(" ")
        found[int(pid)] = made_of
    return found


async def test_every_replica_gets_them_and_versions_only_grow(control: Any, model: TurnModel, folder: Path) -> None:
    assert set((await answers(model)).values()) == {"0 as deployed"}
    new = weights(folder / "new", a=[2, 3], b=[4])
    update = await asyncio.to_thread(control.update_weights, path=new)
    assert (update.version, len(update.replicas), update.failed) == (1, 2, {})
    assert sorted((await answers(model)).values()) == ["1 a b", "1 a b"]
    with pytest.raises(UserError, match="versions only grow"):
        await asyncio.to_thread(control.update_weights, path=new, version=1)
    await asyncio.to_thread(control.update_weights, path=new, version=7)
    assert control.version() == 7
    assert sorted((await answers(model)).values()) == ["7 a b", "7 a b"]


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"a": [2, 3]}, "'b' first"),
        ({"a": [2, 3], "b": [4], "c": [1]}, "'c' first"),
        ({"a": [3, 2], "b": [4]}, "has shape"),
    ],
)
async def test_what_does_not_fit_is_refused_before_anything_changes(
    control: Any, model: TurnModel, folder: Path, tensors: dict[str, list[int]], words: str
) -> None:
    before, version = await answers(model), control.version()
    with pytest.raises(UserError, match=words):
        await asyncio.to_thread(control.update_weights, path=weights(folder / "wrong", **tensors))
    zeros = {name: torch.zeros(shape) for name, shape in tensors.items()}
    with pytest.raises(UserError, match=words):
        await asyncio.to_thread(control.update_weights, tensors=zeros)
    assert (await answers(model), control.version()) == (before, version)


async def test_a_directory_that_is_not_there_and_a_torn_file(control: Any, folder: Path) -> None:
    with pytest.raises(UserError, match="no safetensors files"):
        await asyncio.to_thread(control.update_weights, path=str(folder / "nowhere"))
    torn = folder / "torn"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        await asyncio.to_thread(control.update_weights, path=str(torn))


async def test_a_call_to_a_paused_model_spends_neither_attempts_nor_time(
    control: Any, settings: ModelConfig, endpoints: Any
) -> None:
    await asyncio.to_thread(control.pause, "wait")
    # One attempt, and less time than the pause takes.
    once = {"timeout_s": live.HOLD_S + 2, "retry": RetryConfig(max_attempts=1)}
    client = TurnModel(settings.model_copy(update=once), endpoints)
    call = asyncio.create_task(client.respond(ModelRequest({}, [user_message("?")], "s")))
    await asyncio.sleep(live.HOLD_S + 4)
    assert not call.done()
    await asyncio.to_thread(control.resume)
    assert item_text((await call).items[0])
    await client.close()


async def test_a_killed_replica_comes_back_with_the_newest_tensors(control: Any, model: TurnModel) -> None:
    tensors = {"a": torch.ones(2, 3), "b": torch.ones(4)}
    version = (await asyncio.to_thread(control.update_weights, tensors=tensors)).version
    killed = min(await answers(model))
    kill(killed)
    await replaced(model, killed)
    assert set((await answers(model)).values()) == {f"{version} a b"}


async def test_a_replica_that_cannot_load_is_named_and_replaced(control: Any, model: TurnModel, folder: Path) -> None:
    before = await answers(model)
    unlucky = min(before)
    (folder / "bad").write_text(str(unlucky))
    update = await asyncio.to_thread(control.update_weights, path=weights(folder / "new", a=[2, 3], b=[4]))
    assert list(update.failed.values()) == ["RuntimeError: out of memory"]
    assert unlucky not in await answers(model)
    await replaced(model, unlucky)
    assert set((await answers(model)).values()) == {f"{update.version} a b"}
    (folder / "bad").write_text(" ".join(map(str, await answers(model))))
    with pytest.raises(UserError, match="no replica could load"):
        await asyncio.to_thread(control.update_weights, path=str(folder / "new"))
    assert control.version() == update.version


async def replaced(model: TurnModel, gone: int) -> None:
    """Wait until two replicas answer, without ``gone``."""
    due = time.monotonic() + 60
    while len(now := await answers(model)) < 2 or gone in now:
        assert time.monotonic() < due, "no replacement came"
        await asyncio.sleep(0.5)


def test_a_tied_head_may_be_missing() -> None:
    assert checkpoint.difference({"a": [1]}, {"a": [1], "lm_head.weight": [2]}) is None
    assert checkpoint.difference({"a": [1], "lm_head.weight": [2]}, {"a": [1]}) is None
