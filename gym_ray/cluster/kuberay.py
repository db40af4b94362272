"""Manifests for the KubeRay operator: RayJob for a collection, RayService for a model, RayCluster to submit to.

What always holds: Ray wants its token; the head takes no work but the job's driver; nodes carry the label ``pool``;
values of secrets come from a Secret object, by reference; nothing outside the cluster's own pods gets in unless
``cluster.kubernetes.allow`` lets it. A job that fails is begun again on a fresh cluster, and goes on where it was.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from gym_ray.cluster.config import ClusterConfig, PoolConfig
from gym_ray.cluster.project import STOP_WAIT
from gym_ray.models.config import ModelConfig
from gym_ray.types.errors import UserError

Manifest = dict[str, Any]
MEMBER = "gym-ray/cluster"
"""Label of every pod of a cluster; the network policy goes by it."""
OPERATOR = {"app.kubernetes.io/name": "kuberay-operator"}
DASHBOARD, AGENT, SERVE, METRICS = 8265, 52365, 8000, 8080
HEAD = "ray-head"
GROUP = 100
"""Group of the user in Ray's images: it may write where a claim is mounted."""
ENTRY = "python -m gym_ray.cluster.job"
MODEL_APP = "gym_ray.models.serve.application:build"


def manifests(config: ClusterConfig, words: Sequence[str] = (), model: ModelConfig | None = None) -> str:
    """The YAML documents of ``config.kind``.

    Raises:
        UserError: it has no pools, or secrets without a Secret object.
    """
    if not config.pools:
        raise UserError("cluster.pools is empty: cluster.pools.agents.nodes=2 makes a kind of node")
    if config.secrets and config.kubernetes.secret is None:
        raise UserError("cluster.kubernetes.secret=NAME is missing: the Secret object that holds cluster.secrets")
    if config.kind == "kuberay_job":
        documents = [_job(config, words)]
    elif config.kind == "kuberay_service":
        documents = [_service(config, model or ModelConfig())]
    else:
        documents = [_object(config, "RayCluster", _cluster_spec(config))]
    if config.kubernetes.network_policy:
        documents.append(_network_policy(config))
    text: str = yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=1000)
    return text


class _Plain(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Writes what occurs twice twice, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _job(config: ClusterConfig, words: Sequence[str]) -> Manifest:
    spec = {
        "entrypoint": f"{ENTRY} {shlex.join(words)}",
        "submissionMode": "K8sJobMode",
        "submitterPodTemplate": _template(
            config, {"name": "ray-job-submitter", "image": config.image, "resources": _resources(1, 1, 0)}, never=True
        ),
        "runtimeEnvYAML": yaml.safe_dump({"env_vars": {**config.env, STOP_WAIT: str(config.drain_s)}}),
        "backoffLimit": config.kubernetes.resumes,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": config.kubernetes.keep_s,
        "rayClusterSpec": _cluster_spec(config),
    }
    return _object(config, "RayJob", spec)


def _service(config: ClusterConfig, model: ModelConfig) -> Manifest:
    application = {
        "name": "model",
        "route_prefix": "/",
        "import_path": MODEL_APP,
        "runtime_env": {"env_vars": dict(config.env)},
        "args": model.model_dump(mode="json", exclude_defaults=True),
    }
    # Every pod has a proxy, and the network policy says who reaches it.
    serve = {"http_options": {"host": "0.0.0.0", "port": SERVE}, "applications": [application]}
    spec = {
        "serviceUnhealthySecondThreshold": 900,
        "deploymentUnhealthySecondThreshold": 900,
        "serveConfigV2": yaml.safe_dump(serve, sort_keys=False),
        "rayClusterConfig": _cluster_spec(config),
    }
    return _object(config, "RayService", spec)


def _object(config: ClusterConfig, kind: str, spec: Manifest) -> Manifest:
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": _metadata(config), "spec": spec}


def _metadata(config: ClusterConfig) -> Manifest:
    return {"name": config.name, "namespace": config.kubernetes.namespace, "labels": {MEMBER: config.name}}


def _cluster_spec(config: ClusterConfig) -> Manifest:
    kubernetes = config.kubernetes
    auth: Manifest = {"mode": "token"}
    if kubernetes.auth_secret:
        auth["secretName"] = kubernetes.auth_secret
    spec: Manifest = {"rayVersion": config.ray_version, "authOptions": auth}
    if any(pool.grows for pool in config.pools.values()):
        spec["enableInTreeAutoscaling"] = True
        spec["autoscalerOptions"] = {"version": "v2", "idleTimeoutSeconds": 300, "upscalingMode": "Default"}
    if kubernetes.redis_address:
        spec["gcsFaultToleranceOptions"] = _redis(config)
    spec["headGroupSpec"] = _head(config)
    spec["workerGroupSpecs"] = [_group(config, name, pool) for name, pool in config.pools.items()]
    return spec


def _redis(config: ClusterConfig) -> Manifest:
    options: Manifest = {"redisAddress": config.kubernetes.redis_address}
    if config.kubernetes.redis_secret:
        reference = {"name": config.kubernetes.redis_secret, "key": "password"}
        options["redisPassword"] = {"valueFrom": {"secretKeyRef": reference}}
    return options


def _head(config: ClusterConfig) -> Manifest:
    ports = {"gcs-server": 6379, "dashboard": DASHBOARD, "serve": SERVE, "metrics": METRICS}
    container = {
        "name": HEAD,
        "image": config.image,
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "resources": _resources(config.head_cpus, config.head_memory_gb, 0),
    }
    # The Service stays inside Kubernetes; people come by `kubectl port-forward`.
    return {
        "serviceType": "ClusterIP",
        "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},
        "template": _template(config, container, shm_gb=max(1, config.head_memory_gb // 4)),
    }


def _group(config: ClusterConfig, name: str, pool: PoolConfig) -> Manifest:
    container = {
        "name": "ray-worker",
        "image": pool.image or config.image,
        "ports": [{"name": "metrics", "containerPort": METRICS}],
        "resources": _resources(pool.cpus, pool.memory_gb, pool.gpus),
    }
    # As fields of their own: the operator refuses labels among Ray's start parameters, and Ray's autoscaler, which must
    # know them to bring a first node of a pool, does not read them there.
    group: Manifest = {"groupName": name, "labels": {"pool": name, **pool.labels}}
    if pool.resources:
        group["resources"] = {resource: str(amount) for resource, amount in pool.resources.items()}
    template = _template(config, container, shm_gb=pool.shm_gb)
    if pool.node_selector:
        template["spec"]["nodeSelector"] = dict(pool.node_selector)
    if pool.tolerations:
        template["spec"]["tolerations"] = list(pool.tolerations)
    return {
        **group,
        "replicas": pool.nodes,
        "minReplicas": pool.nodes,
        "maxReplicas": pool.max_nodes if pool.grows else pool.nodes,
        "rayStartParams": {},
        "template": template,
    }


def _template(config: ClusterConfig, container: Manifest, *, shm_gb: int = 0, never: bool = False) -> Manifest:
    """A pod with one container: secrets as variables, shared memory, and the shared claim."""
    kubernetes, mounts, volumes = config.kubernetes, [], []
    if config.secrets:
        container["env"] = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": kubernetes.secret, "key": name}}}
            for name in config.secrets
        ]
    if shm_gb:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shm_gb}Gi"}})
    if kubernetes.claim and not never:
        mounts.append({"name": "shared", "mountPath": kubernetes.mount})
        volumes.append({"name": "shared", "persistentVolumeClaim": {"claimName": kubernetes.claim}})
    if mounts:
        container["volumeMounts"] = mounts
    container["securityContext"] = {"allowPrivilegeEscalation": False}
    # Only the head's autoscaler speaks to Kubernetes; where tools and model-written code run, no token lies about.
    spec: Manifest = {"containers": [container], "automountServiceAccountToken": container["name"] == HEAD}
    if kubernetes.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in kubernetes.pull_secrets]
    if mounts:
        spec["securityContext"] = {"fsGroup": GROUP, "fsGroupChangePolicy": "OnRootMismatch"}
    if volumes:
        spec["volumes"] = volumes
    if never:
        spec["restartPolicy"] = "Never"
    return {"metadata": {"labels": {MEMBER: config.name}}, "spec": spec}


def _resources(cpus: int, memory_gb: int, gpus: int) -> Manifest:
    amounts: Manifest = {"cpu": str(cpus), "memory": f"{memory_gb}Gi"}
    if gpus:
        amounts["nvidia.com/gpu"] = str(gpus)
    return {"requests": amounts, "limits": dict(amounts)}


def _network_policy(config: ClusterConfig) -> Manifest:
    """In come the cluster's own pods, the operator, and whom ``allow`` names; out goes everything."""
    pods = {"matchLabels": {MEMBER: config.name}}
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": OPERATOR}}
    ingress = [
        {"from": [{"podSelector": pods}]},
        {"from": [operator], "ports": [{"protocol": "TCP", "port": port} for port in (DASHBOARD, AGENT, SERVE)]},
    ]
    if config.kubernetes.allow:
        guests = [_guest(dict(labels)) for labels in config.kubernetes.allow]
        doors = [{"protocol": "TCP", "port": port} for port in (DASHBOARD, SERVE, METRICS)]
        ingress.append({"from": guests, "ports": doors})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(config),
        "spec": {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": ingress},
    }


def _guest(labels: dict[str, str]) -> Manifest:
    """Pods with these labels; of another namespace where `namespace` is one of them."""
    namespace = labels.pop("namespace", None)
    guest: Manifest = {"podSelector": {"matchLabels": labels}}
    if namespace is not None:
        guest["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return guest
