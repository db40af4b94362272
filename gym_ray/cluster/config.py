"""Settings of a cluster (``cluster.*``): where jobs go, and what its launch files say.

Invariant: a secret is here by the name of its variable only. No value of one is ever part of a job, a manifest or a
log.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gym_ray.types.settings import Settings

Kind = Literal["ray", "kuberay_job", "kuberay_service", "kuberay_cluster", "slurm", "ray_up"]


class PoolConfig(Settings):
    """One kind of node. Its nodes carry the Ray label `pool: NAME`, so that work can be sent there."""

    nodes: int = 1
    """Nodes at the start."""
    max_nodes: int | None = None
    """Nodes at most, when work waits for them. None: always `nodes`."""
    cpus: int = 8
    """CPUs per node."""
    memory_gb: int = 32
    """Memory per node, in GiB."""
    gpus: int = 0
    """GPUs per node."""
    resources: dict[str, int] = Field(default_factory=dict)
    """Custom Ray resources per node (`{sandbox: 64}`)."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Further Ray node labels."""
    shm_gb: int = 8
    """Shared memory per node, in GiB: Ray's object store and the engine's workers live in it (Kubernetes)."""
    image: str | None = None
    """Container image. None: `cluster.image`."""
    instance: str | None = None
    """Machine type of the cloud (`ray_up`: `p5.48xlarge`, `a3-highgpu-8g`)."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Kubernetes node labels that its pods need."""
    tolerations: list[dict[str, Any]] = Field(default_factory=list)
    """Kubernetes taints that its pods bear."""

    @property
    def grows(self) -> bool:
        """More nodes come when work waits."""
        return self.max_nodes is not None and self.max_nodes > self.nodes


class KubernetesConfig(Settings):
    """What only Kubernetes needs (`cluster.kubernetes.*`)."""

    namespace: str = "default"
    """Namespace of all objects."""
    claim: str | None = None
    """PersistentVolumeClaim (ReadWriteMany) for runs and weights, mounted on every pod at `mount`."""
    mount: str = "/shared"
    """Where the claim appears."""
    secret: str | None = None
    """Secret object that holds the values of `cluster.secrets`, each under its variable's name."""
    auth_secret: str | None = None
    """Secret object with Ray's own token (key `auth_token`). None: the operator makes one."""
    redis_address: str | None = None
    """`host:port` of a Redis that outlives the head, so that a new head goes on with the same cluster."""
    redis_secret: str | None = None
    """Secret object with Redis' password (key `password`)."""
    network_policy: bool = True
    """Let nothing in from outside the cluster's own pods and `allow`."""
    allow: list[dict[str, str]] = Field(default_factory=list)
    """Pod labels, one mapping each, that may reach dashboard, served models and metrics: of the same namespace, or of
    the one that `namespace` names beside them (`{namespace: monitoring, app: prometheus}`)."""
    pull_secrets: list[str] = Field(default_factory=list)
    """Secret objects with which images are pulled."""
    resumes: int = 3
    """How often a job that failed or lost its cluster is begun again; it goes on where it was."""
    keep_s: int = 600
    """Seconds that a finished job's cluster stays, for a look at its dashboard."""


class SlurmConfig(Settings):
    """What only Slurm needs (`cluster.slurm.*`)."""

    nodes: int = 1
    """Nodes of the job; the first one is the head."""
    gpus_per_node: int = 0
    """GPUs of each."""
    time: str = "04:00:00"
    """Time limit, as Slurm writes it."""
    partition: str | None = None
    """Partition."""
    account: str | None = None
    """Account."""
    qos: str | None = None
    """Quality of service."""
    exclusive: bool = True
    """Whole nodes. Needed for `ray symmetric-run`, which ends every Ray of the user on its nodes."""
    drain_s: int = 180
    """Seconds before the time limit at which nothing new is begun; what is in the air may land until then."""
    resumes: int = 10
    """How often the job puts itself into the queue again after a time limit."""
    port: int = 6379
    """Port of Ray's head."""
    container: str | None = None
    """Container image that everything runs in (a file, or a registry's address)."""
    container_runtime: Literal["enroot", "apptainer"] = "enroot"
    """enroot: by Slurm's pyxis plugin. apptainer: by its own command."""
    mounts: list[str] = Field(default_factory=list)
    """`FROM:TO` folders to mount into the container."""
    setup: list[str] = Field(default_factory=list)
    """Shell lines before anything else, on every node (`source .venv/bin/activate`)."""
    extra: dict[str, str] = Field(default_factory=dict)
    """Further `#SBATCH --NAME=VALUE` lines."""


class LauncherConfig(Settings):
    """What only Ray's own launcher needs (`cluster.launcher.*`)."""

    provider: Literal["aws", "gcp", "local"] = "local"
    """Cloud, or `local` for machines that are there."""
    region: str = "us-west-2"
    """Region (aws, gcp)."""
    zone: str | None = None
    """Availability zone (gcp needs one)."""
    project: str | None = None
    """Project id (gcp)."""
    head_instance: str = "m6i.2xlarge"
    """Machine type of the head."""
    head_ip: str | None = None
    """The head's address (local)."""
    worker_ips: list[str] = Field(default_factory=list)
    """The other machines' addresses (local)."""
    ssh_user: str = "ubuntu"
    """User to log in as."""
    ssh_key: str | None = None
    """Private key's file. None: what ssh uses by itself; the clouds make one."""
    disk_gb: int = 200
    """Disk per machine, in GB (aws, gcp)."""
    machine_image: str | None = None
    """The cloud's image id. None: Ray's default (aws); a Debian one (gcp)."""
    identity: str | None = None
    """Instance profile (aws) or service account (gcp) of all machines, so that they reach object storage. None: Ray
    gives one to the head alone."""
    setup: list[str] = Field(default_factory=list)
    """Shell lines that put gym_ray on a fresh machine. None are needed where the machine image has it."""
    idle_minutes: int = 15
    """A worker without work goes after so long."""


class ClusterConfig(Settings):
    """A cluster."""

    kind: Kind = "ray"
    """ray: one that runs; nothing to render. Else what `gym-ray cluster render` writes."""
    name: str = "gym-ray"
    """Name of the cluster and of what is made for it."""
    address: str = "http://127.0.0.1:8265"
    """Ray's dashboard, where jobs are submitted. Bring it near with a tunnel rather than opening it to a network."""
    auth_token_path: str | None = None
    """File with the cluster's token. None: as Ray looks for it (`RAY_AUTH_TOKEN`, `RAY_AUTH_TOKEN_PATH`,
    `~/.ray/auth_token`)."""
    project: str = "."
    """Folder that is packed and sent along: environments and task files in it are found under the same relative
    paths. What `.gitignore` and `.rayignore` name stays here."""
    excludes: list[str] = [
        ".git/",
        ".venv*/",
        "/runs/",
        "__pycache__/",
        ".env",
        "*.pem",
        "*.key",
        "id_rsa*",
        "id_ed25519*",
    ]
    """Patterns, as in `.gitignore`, of what stays here besides."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the job, for everybody to see. Secrets do not belong here."""
    secrets: list[str] = Field(default_factory=list)
    """Names of variables whose values the cluster has: in its nodes' environment, or as files in `secrets_dir`."""
    secrets_dir: str | None = None
    """Folder on every node with a file for each secret, named as the variable (`/run/secrets/gym_ray`)."""
    runs: str | None = None
    """Shared or object storage for runs that name no `run_dir` (`/shared/runs`, `s3://bucket/runs`)."""
    drain_s: int = 600
    """Seconds that a stopped job gets until what is in the air has landed."""
    image: str = "gym-ray:latest"
    """Container image with gym_ray in it (`cluster/Dockerfile`)."""
    ray_version: str = "2.60.0"
    """Ray in that image."""
    head_cpus: int = 4
    """CPUs of the head, which runs the job's driver and no other work."""
    head_memory_gb: int = 16
    """Memory of the head, in GiB."""
    pools: dict[str, PoolConfig] = Field(default_factory=dict)
    """Kinds of worker nodes by name."""
    kubernetes: KubernetesConfig = Field(default_factory=KubernetesConfig)
    """What only Kubernetes needs."""
    slurm: SlurmConfig = Field(default_factory=SlurmConfig)
    """What only Slurm needs."""
    launcher: LauncherConfig = Field(default_factory=LauncherConfig)
    """What only Ray's own launcher needs."""
