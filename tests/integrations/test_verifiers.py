"""A taskset package as ``vf-init`` writes it, scored by verifiers itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.host import Host
from gym_ray.types.errors import MaskRollout, RolloutError, UserError
from gym_ray.types.items import assistant_message, reasoning
from gym_ray.types.outcome import Reward
from gym_ray.types.trajectory import Trajectory
from tests.integrations.conftest import Collected, task

pytest.importorskip("verifiers")
pytestmark = pytest.mark.integrations
SERVER = "gym_ray.integrations.verifiers:Verifiers"
REWARD = """
    @vf.reward(weight=1.0)
    async def right(self, trace: vf.Trace) -> float:
        if "raise" in trace.last_reply:
            raise ValueError("cannot read this")
        return float(trace.last_reply == self.data.word[::-1])

    @vf.reward(weight=0.5)
    async def thought(self, trace: vf.Trace) -> float:
        return float(bool(trace.assistant_messages[-1].reasoning_content))

    @vf.metric
    async def length(self, trace: vf.Trace) -> float:
        return len(trace.last_reply)
"""
LOAD = """
        words = ["stone", "river", "fox"][: self.config.num_tasks]
        rows = [ReverseData(prompt=f"Reverse: {word}", system_prompt="One word.", word=word) for word in words]
        return [ReverseTask(row, self.config.task) for row in rows]
"""
NEEDY = {
    "runtime": "@vf.reward\n    async def box(self, runtime) -> float:\n        return 1.0\n",
    "container": "NEEDS_CONTAINER = True\n",
    "setup": "async def setup(self, trace, runtime):\n        pass\n",
}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Taskset packages as verifiers' own ``vf-init`` makes them, importable here and by Ray, which starts later."""
    folder = tmp_path_factory.mktemp("tasksets")
    tool = Path(sys.executable).with_name("vf-init")
    subprocess.run([tool, "reverse", "--path", folder], check=True, capture_output=True, timeout=120, cwd=folder)
    package = folder / "reverse" / "reverse"
    text = (package / "taskset.py").read_text()
    (package / "taskset.py").write_text(_complete(text))
    for what, extra in NEEDY.items():
        other = package.with_name(f"needs_{what}")
        other.mkdir()
        (other / "__init__.py").write_text((package / "__init__.py").read_text().replace("reverse.", f"{other.name}."))
        (other / "taskset.py").write_text(_complete(text, extra))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), str(Path(__file__).parents[2])]))
        patch.syspath_prepend(package.parent)
        yield


def _complete(text: str, extra: str = "") -> str:
    """Fill in what ``vf-init`` leaves open: a field, the rewards, the tasks."""
    head, rest = text.split("    @vf.reward(weight=1.0)")
    head = head.replace("(vf.TaskData):\n", '(vf.TaskData):\n    word: str = ""\n')
    tail = rest[rest.index("class ReverseConfig") : rest.index("        raise NotImplementedError(\n")]
    return f"{head}{REWARD}\n    {extra}\n\n{tail}{LOAD}"


def host_of(name: str, **config: Any) -> Host:
    options = {"taskset": name, "config": config}
    return Host("foreign", EnvironmentConfig(server=SERVER, options=options))


def rows_of(name: str) -> list[dict[str, Any]]:
    from gym_ray.integrations.verifiers.__main__ import rows

    return list(rows(name))


async def verdict(*items: Any) -> Reward:
    host = host_of("reverse")
    session = await host.seed(rows_of("reverse")[0], "0")
    return await session.verify(Trajectory.of_items(list(items), [{"role": "user", "content": "Reverse: stone"}]))


def test_rows(packages: Any) -> None:
    first, *others = rows_of("reverse")
    assert len(others) == 2
    assert first["responses_create_params"]["input"] == [
        {"role": "system", "content": "One word."},
        {"role": "user", "content": "Reverse: stone"},
    ]
    assert first["verifiers_task"]["word"] == "stone"


async def test_rewards_and_metrics(packages: Any) -> None:
    reward = await verdict(reasoning("from behind"), assistant_message("enots"))
    assert (reward.value, reward.components) == (1.5, {"right": 1.0, "thought": 0.5})
    assert reward.extra == {"metrics": {"length": 5.0}}
    assert (await verdict(assistant_message("stone"))).value == 0.0


async def test_a_reward_that_raises_masks(packages: Any) -> None:
    with pytest.raises(MaskRollout, match="cannot read this"):
        await verdict(assistant_message("raise"))


@pytest.mark.parametrize(
    ("what", "named"), [("runtime", "a runtime"), ("container", "a container"), ("setup", "a runtime")]
)
def test_what_needs_more_is_refused(packages: Any, what: str, named: str) -> None:
    with pytest.raises(UserError, match=f"needs {named}"):
        host_of(f"needs_{what}")


def test_mistakes(packages: Any) -> None:
    with pytest.raises(UserError, match="no-such-taskset"):
        host_of("no-such-taskset")
    with pytest.raises(UserError, match="num_tasks"):
        host_of("reverse", num_tasks="many")


async def test_a_row_of_another_taskset(packages: Any) -> None:
    with pytest.raises(RolloutError, match="does not fit"):
        await host_of("reverse").seed(task(verifiers_task={"word": [1]}), "0")


@pytest.mark.ray
def test_collected(packages: Any, collected: Collected) -> None:
    found = collected(SERVER, {"taskset": "reverse"}, rows_of("reverse"), "reverse")
    assert sorted((row["verifiers_task"]["word"], row["reward"]) for row in found) == [
        ("fox", 0.0),
        ("fox", 0.0),
        ("river", 1.0),
        ("river", 1.0),
        ("stone", 1.0),
        ("stone", 1.0),
    ]
    assert {row["metrics"]["length"] for row in found} == {3.0, 5.0}
