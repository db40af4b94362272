"""CPU per rollout of one hosted server, held against the same server run by NeMo Gym itself: ``--cost``.

Ours: a whole ``gym-ray collect env=nemo_gym/mcqa``, shards written, as ``scripts/bench`` measures it. Theirs: NeMo
Gym's own processes for the server, its agent and its model, started as its launcher starts them, and asked ``/run``
by a bare client. Its collector, head server and output are left out, in its favour. Both talk to the same mock, on
the same machine, one after the other; a slope between a small and a large run, so that start-up cancels.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace

import aiohttp
import psutil
from benchmark.cost import MCQA, Scenario, Size, measure
from benchmark.endpoint import endpoint
from benchmark.mock import Script
from benchmark.runs import task_line

from gym_ray.integrations.nemo_gym.tree import Tree

CONCURRENCY = 256
OURS, THEIRS = Size(1024, 9216, 1), Size(256, 1280, 1)
"""Rollouts of the small and the large run."""
START_S = 180.0


def compare() -> str:
    """One line with both figures and their ratio."""
    scenario = Scenario("hosted mcqa", replace(MCQA, env="nemo_gym/mcqa"))
    ours = measure(scenario, OURS, lambda line: print(f"  gym_ray  {line}", file=sys.stderr, flush=True)).cpu_ms
    theirs = _theirs()
    return (
        f"CPU-ms per rollout of mcqa: hosted here {ours:.2f}, NeMo Gym {theirs:.2f}; {theirs / ours:.1f} times as much"
    )


def _theirs() -> float:
    with endpoint(Script()) as mock, _servers(mock.base_url) as (address, processes):
        spent = []
        for count in (THEIRS.small, THEIRS.small, THEIRS.large):  # the first warms up
            before = sum(_cpu_s(process) for process in processes)
            asyncio.run(_ask(address, count))
            spent.append(sum(_cpu_s(process) for process in processes) - before)
            print(f"  NeMo Gym  {count:,} rollouts: {spent[-1]:.2f} CPU-s", file=sys.stderr, flush=True)
    return 1000 * (spent[2] - spent[1]) / (THEIRS.large - THEIRS.small)


async def _ask(address: str, count: int) -> None:
    """``count`` rollouts through ``/run``, ``CONCURRENCY`` at once."""
    gate = asyncio.Semaphore(CONCURRENCY)
    rows = [json.loads(task_line(number)) for number in range(64)]

    async def one(number: int) -> None:
        async with gate, client.post(f"{address}/run", json=rows[number % len(rows)]) as answer:
            answer.raise_for_status()
            assert "reward" in await answer.json()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        await asyncio.gather(*(one(number) for number in range(count)))


@contextlib.contextmanager
def _servers(model_url: str) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Resources server, model and agent, each its own process; the agent's address."""
    tree = Tree.find()
    config, addresses = _config(tree, model_url)
    folders = {
        "mcqa": "resources_servers/mcqa",
        "policy_model": "responses_api_models/vllm_model",
        "mcqa_simple_agent": "responses_api_agents/simple_agent",
    }
    # Its own site-packages first on the module path: it would put them last, behind what .venv has.
    environment = {**os.environ, "NEMO_GYM_CONFIG_DICT": config, "NEMO_GYM_EXTRA_ROOTS": str(tree.root)}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        processes = []
        for name, folder in folders.items():
            own, place = {**environment, "NEMO_GYM_CONFIG_PATH": name}, tree.root / folder
            process = subprocess.Popen([sys.executable, "app.py"], cwd=place, env=own, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(psutil.Process(process.pid))
        try:
            for address in addresses.values():
                _wait_for(address)
            yield addresses["mcqa_simple_agent"], processes
        except Exception:
            log.seek(0)
            print(log.read()[-3000:].decode(errors="replace"), file=sys.stderr)
            raise


def _config(tree: Tree, model_url: str) -> tuple[str, dict[str, str]]:
    """NeMo Gym's resolved configuration as YAML, and each instance's address."""
    from nemo_gym.global_config import GlobalConfigDictParser
    from omegaconf import OmegaConf

    files = ["resources_servers/mcqa/configs/mcqa.yaml", "responses_api_models/vllm_model/configs/vllm_model.yaml"]
    initial = {
        "config_paths": [str(tree.root / file) for file in files],
        "policy_base_url": model_url,
        "policy_api_key": "none",  # pragma: allowlist secret
        "policy_model_name": "mock",
        "allow_openai_version_skew": True,
    }
    config = GlobalConfigDictParser().parse_no_environment(OmegaConf.create(initial))
    addresses = {}
    kinds = {"mcqa": "resources_servers", "policy_model": "responses_api_models"}
    for name in ("mcqa", "policy_model", "mcqa_simple_agent"):
        (server,) = config[name][kinds.get(name, "responses_api_agents")].values()
        server["host"], server["port"] = "127.0.0.1", _free_port()
        addresses[name] = f"http://127.0.0.1:{server['port']}"
    return OmegaConf.to_yaml(config), addresses


def _wait_for(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1.0):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"NeMo Gym's server at {address} is not up after {START_S:g} s")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _cpu_s(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in family)
