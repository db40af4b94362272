"""A cluster file for Ray's own launcher (``ray up FILE``): AWS, GCP, or machines that are there.

What always holds: Ray wants its token, which goes from this machine to every node as a file; the dashboard listens on
the head's loopback (``ray dashboard FILE`` brings it near); the head takes no work but the jobs' drivers.
"""

from __future__ import annotations

from typing import Any

import yaml

from gym_ray.cluster.config import ClusterConfig, LauncherConfig, PoolConfig
from gym_ray.types.errors import UserError

Node = dict[str, Any]
TOKEN = "~/.ray/auth_token"
_START = "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0; ulimit -n 65535; ray start"


def cluster_file(config: ClusterConfig) -> str:
    """The YAML text.

    Raises:
        UserError: a setting that the provider needs is missing.
    """
    launcher = config.launcher
    parts = _local(config) if launcher.provider == "local" else _cloud(config)
    autoscaling = " --autoscaling-config=~/ray_bootstrap_config.yaml" if launcher.provider != "local" else ""
    whole = {
        "cluster_name": config.name,
        **parts,
        "file_mounts": {TOKEN: TOKEN},
        "setup_commands": [f"chmod 600 {TOKEN}", *launcher.setup],
        "head_start_ray_commands": [
            "ray stop",
            f"{_START} --head --port=6379 --num-cpus=0 --dashboard-host=127.0.0.1{autoscaling}",
        ],
        "worker_start_ray_commands": ["ray stop", f"{_START} --address=$RAY_HEAD_IP:6379"],
    }
    text: str = yaml.safe_dump(whole, sort_keys=False, width=1000)
    return text


def _local(config: ClusterConfig) -> Node:
    launcher = config.launcher
    if not launcher.head_ip:
        raise UserError("cluster.launcher.head_ip=ADDRESS is missing: the machine that becomes the head")
    workers = len(launcher.worker_ips)
    auth = {"ssh_user": launcher.ssh_user, **({"ssh_private_key": launcher.ssh_key} if launcher.ssh_key else {})}
    provider = {"type": "local", "head_ip": launcher.head_ip, "worker_ips": list(launcher.worker_ips)}
    return {"provider": provider, "auth": auth, "max_workers": workers}


def _cloud(config: ClusterConfig) -> Node:
    launcher = config.launcher
    missing = [
        name for name in ("project", "zone") if launcher.provider == "gcp" and getattr(launcher, name) is None
    ] + [f"cluster.pools.{name}.instance" for name, pool in config.pools.items() if pool.instance is None]
    if missing:
        raise UserError(
            "\n".join(
                f"{_full(name)}=... is missing (cluster.launcher.provider={launcher.provider})" for name in missing
            )
        )
    head = _node_config(launcher, launcher.head_instance, gpus=0)
    types = {"head": {"resources": {"CPU": 0}, "node_config": head}}
    types |= {name: _node_type(launcher, name, pool) for name, pool in config.pools.items()}
    return {
        "max_workers": sum(pool.max_nodes or pool.nodes for pool in config.pools.values()),
        "idle_timeout_minutes": launcher.idle_minutes,
        "provider": _provider(launcher),
        "auth": {"ssh_user": launcher.ssh_user, **({"ssh_private_key": launcher.ssh_key} if launcher.ssh_key else {})},
        "head_node_type": "head",
        "available_node_types": types,
    }


def _full(name: str) -> str:
    return name if "." in name else f"cluster.launcher.{name}"


def _provider(launcher: LauncherConfig) -> Node:
    if launcher.provider == "aws":
        return {"type": "aws", "region": launcher.region, "cache_stopped_nodes": False}
    return {
        "type": "gcp",
        "region": launcher.region,
        "availability_zone": launcher.zone,
        "project_id": launcher.project,
    }


def _node_type(launcher: LauncherConfig, name: str, pool: PoolConfig) -> Node:
    resources = {"CPU": pool.cpus, **({"GPU": pool.gpus} if pool.gpus else {}), **pool.resources}
    return {
        "min_workers": pool.nodes,
        "max_workers": pool.max_nodes or pool.nodes,
        "resources": resources,
        "labels": {"pool": name, **pool.labels},
        "node_config": _node_config(launcher, str(pool.instance), pool.gpus),
    }


def _node_config(launcher: LauncherConfig, instance: str, gpus: int) -> Node:
    if launcher.provider == "aws":
        disk: Node = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": launcher.disk_gb, "VolumeType": "gp3"}}
        named: Node = {"ImageId": launcher.machine_image} if launcher.machine_image else {}
        if launcher.identity:
            kind = "Arn" if launcher.identity.startswith("arn:") else "Name"
            named["IamInstanceProfile"] = {kind: launcher.identity}
        return {"InstanceType": instance, **named, "BlockDeviceMappings": [disk]}
    image = launcher.machine_image or "projects/debian-cloud/global/images/family/debian-12"
    parameters = {"diskSizeGb": launcher.disk_gb, "sourceImage": image}
    boot: Node = {"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": parameters}
    node: Node = {"machineType": instance, "disks": [boot]}
    if gpus:
        # A machine with GPUs cannot move while it runs; it is not to be had without saying so.
        node["scheduling"] = {"onHostMaintenance": "TERMINATE"}
    if launcher.identity:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        node["serviceAccounts"] = [{"email": launcher.identity, "scopes": scopes}]
    return node
