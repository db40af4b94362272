"""The manifests: what Kubernetes would say to them, and what they promise."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gym_ray.cli.compose import conf_dir
from gym_ray.cli.main import main
from tests.cluster.crds import problems

COMMAND = ["collect", "env=mcqa", "run_dir=/shared/runs/mcqa", "tasks=it's.jsonl"]
EVERYTHING = [
    "cluster.kubernetes.auth_secret=ray-token",
    "cluster.kubernetes.redis_address=redis:6379",
    "cluster.kubernetes.redis_secret=redis",
    "cluster.kubernetes.secret=keys",
    "cluster.secrets=[NIM_API_KEY,HF_TOKEN]",
    "cluster.kubernetes.allow=[{app: trainer},{namespace: monitoring,app: prometheus}]",
    "cluster.kubernetes.pull_secrets=[registry]",
    "cluster.pools.policy.node_selector={gpu: h100}",
]


def rendered(capsys: pytest.CaptureFixture[str], kind: str, *words: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    command = COMMAND if kind == "job" else []
    assert main(["cluster", "render", f"cluster=kuberay/{kind}", *words, *command]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    spec = manifest["spec"]
    found: dict[str, Any] = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or spec
    return found


@pytest.mark.parametrize("words", [[], EVERYTHING], ids=["as it comes", "with everything"])
@pytest.mark.parametrize("kind", ["job", "service", "cluster"])
def test_kubernetes_takes_every_key(capsys: pytest.CaptureFixture[str], kind: str, words: list[str]) -> None:
    main_object, policy = rendered(capsys, kind, *words)
    assert problems(main_object) == []
    assert (policy["apiVersion"], policy["kind"]) == ("networking.k8s.io/v1", "NetworkPolicy")


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        (("workerGroupSpecs", 0), "maxReplica", 3),
        (("workerGroupSpecs", 0, "template", "spec", "containers", 0), "resource", {}),
        (("autoscalerOptions",), "version", "v3"),
        (("headGroupSpec", "template", "spec", "containers", 0, "resources", "limits"), "memory", "lots"),
    ],
)
def test_the_definitions_refuse_what_kubernetes_would_drop(
    capsys: pytest.CaptureFixture[str], place: tuple[Any, ...], key: str, value: Any
) -> None:
    manifest = copy.deepcopy(rendered(capsys, "cluster")[0])
    node = cluster_spec(manifest)
    for step in place:
        node = node[step]
    node[key] = value
    assert problems(manifest)


def test_ray_wants_its_token_and_strangers_stay_out(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("job", "service", "cluster"):
        manifest, policy = rendered(capsys, kind)
        spec = cluster_spec(manifest)
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        (labels,) = {json.dumps(one["metadata"]["labels"]) for one in pods(manifest)}
        assert policy["spec"]["podSelector"]["matchLabels"] == json.loads(labels)
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        sources = [source for rule in policy["spec"]["ingress"] for source in rule["from"]]
        assert all(source["podSelector"]["matchLabels"] for source in sources)


def test_only_the_head_speaks_to_kubernetes(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("job", "service", "cluster"):
        head, *others = pods(rendered(capsys, kind)[0])
        assert head["spec"]["automountServiceAccountToken"] is True
        assert not any(pod["spec"]["automountServiceAccountToken"] for pod in others)


def test_guests_come_from_their_own_namespace(capsys: pytest.CaptureFixture[str]) -> None:
    policy = rendered(capsys, "cluster", *EVERYTHING)[1]
    near, far = policy["spec"]["ingress"][-1]["from"]
    assert near == {"podSelector": {"matchLabels": {"app": "trainer"}}}
    assert far["podSelector"] == {"matchLabels": {"app": "prometheus"}}
    assert far["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = cluster_spec(manifest)
    templates = [spec["headGroupSpec"]["template"], *(group["template"] for group in spec["workerGroupSpecs"])]
    return [*templates, *([manifest["spec"]["submitterPodTemplate"]] if manifest["kind"] == "RayJob" else [])]


def test_secrets_are_references(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIM_API_KEY", "never-to-be-seen")
    manifest = rendered(capsys, "job", *EVERYTHING)[0]
    assert "never-to-be-seen" not in json.dumps(manifest)
    for pod in pods(manifest):
        (container,) = pod["spec"]["containers"]
        assert [one["name"] for one in container["env"]] == ["NIM_API_KEY", "HF_TOKEN"]
        assert all(one["valueFrom"]["secretKeyRef"]["name"] == "keys" for one in container["env"])


def test_nodes_are_what_the_pools_say(capsys: pytest.CaptureFixture[str]) -> None:
    spec = cluster_spec(rendered(capsys, "job", "cluster.pools.agents.nodes=3")[0])
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert [groups["agents"][key] for key in ("minReplicas", "replicas", "maxReplicas")] == [3, 3, 8]
    assert [groups["policy"][key] for key in ("minReplicas", "replicas", "maxReplicas")] == [1, 1, 1]
    container = groups["policy"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "32", "memory": "256Gi", "nvidia.com/gpu": "8"}
    shared = groups["policy"]["template"]["spec"]["volumes"][0]["emptyDir"]
    assert shared == {"medium": "Memory", "sizeLimit": "64Gi"}
    assert (groups["sandbox"]["labels"], groups["sandbox"]["resources"]) == ({"pool": "sandbox"}, {"sandbox": "64"})
    assert all("labels" not in group["rayStartParams"] for group in groups.values()), "the operator refuses those"
    assert spec["enableInTreeAutoscaling"] is True


def test_a_job_runs_the_command_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    spec = rendered(capsys, "job")[0]["spec"]
    assert spec["entrypoint"].endswith("collect env=mcqa run_dir=/shared/runs/mcqa 'tasks=it'\"'\"'s.jsonl'")
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (3, True)


def test_mistakes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        ("cluster=kuberay/job",): "say what it shall run",
        ("cluster=kuberay/job", "collect", "env=mcqa", "run_dir=runs/x"): "absolute path",
        ("cluster=kuberay/cluster", "cluster.secrets=[KEY]"): "cluster.kubernetes.secret=NAME is missing",
        ("cluster=kuberay/cluster", "cluster.pools.policy.gpu=8"): "nearest: cluster.pools",
        ("cluster=local", "collect", "env=mcqa", "run_dir=/x"): "nothing to render",
    }
    for words, expected in cases.items():
        assert main(["cluster", "render", *words]) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["job", "service", "cluster"])
def test_the_files_that_lie_here_are_what_is_rendered(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    file = Path(__file__).parents[2] / f"cluster/kuberay/{kind}.yaml"
    command = ["collect", "env=mcqa", "run_dir=/shared/runs/mcqa"] if kind == "job" else []
    assert main(["cluster", "render", f"cluster=kuberay/{kind}", *command]) == 0
    assert capsys.readouterr().out == file.read_text()
    assert (conf_dir() / f"cluster/kuberay/{kind}.yaml").is_file()
