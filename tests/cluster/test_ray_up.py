"""Files for Ray's own launcher, against Ray's own schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gym_ray.cli.main import main

GIVEN = {
    "aws": [],
    "gcp": ["cluster.launcher.project=my-project"],
    "local": ["cluster.launcher.head_ip=10.0.0.1", "cluster.launcher.worker_ips=[10.0.0.2,10.0.0.3]"],
}


def rendered(capsys: pytest.CaptureFixture[str], provider: str) -> str:
    assert main(["cluster", "render", f"cluster=ray_up/{provider}", *GIVEN[provider]]) == 0
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    import ray

    loaded: dict[str, Any] = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())
    return loaded


@pytest.mark.parametrize("provider", GIVEN)
def test_ray_takes_it(capsys: pytest.CaptureFixture[str], schema: dict[str, Any], provider: str) -> None:
    text = rendered(capsys, provider)
    whole = yaml.safe_load(text)
    jsonschema.validate(whole, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**whole, "max_worker": 3}, schema)
    assert text == (Path(__file__).parents[2] / f"cluster/ray_up/{provider}.yaml").read_text()


@pytest.mark.parametrize("provider", GIVEN)
def test_the_token_goes_along_and_the_dashboard_stays_home(capsys: pytest.CaptureFixture[str], provider: str) -> None:
    whole = yaml.safe_load(rendered(capsys, provider))
    (start,) = (line for line in whole["head_start_ray_commands"] if "ray start" in line)
    assert "--dashboard-host=127.0.0.1" in start
    assert all("RAY_AUTH_MODE=token" in line for line in (start, whole["worker_start_ray_commands"][1]))
    assert whole["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}


def test_ray_completes_the_file_for_machines_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    from ray.autoscaler._private.util import prepare_config

    whole = prepare_config(yaml.safe_load(rendered(capsys, "local")))
    assert whole["available_node_types"]["local.cluster.node"]["max_workers"] == 2


def test_what_is_missing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", "render", "cluster=ray_up/gcp"]) == 2
    assert "cluster.launcher.project=... is missing" in capsys.readouterr().err


def test_machines_reach_storage_and_those_with_gpus_say_that_they_stay(capsys: pytest.CaptureFixture[str]) -> None:
    def configs(provider: str) -> dict[str, Any]:
        assert main(["cluster", "render", f"cluster=ray_up/{provider}", *GIVEN[provider], *words]) == 0
        types = yaml.safe_load(capsys.readouterr().out)["available_node_types"]
        return {name: one["node_config"] for name, one in types.items()}

    words = ["cluster.launcher.identity=rollouts"]
    assert {json.dumps(one["IamInstanceProfile"]) for one in configs("aws").values()} == {'{"Name": "rollouts"}'}
    google = configs("gcp")
    assert all(one["serviceAccounts"][0]["email"] == "rollouts" for one in google.values())
    assert {name for name, one in google.items() if "scheduling" in one} == {"policy"}
