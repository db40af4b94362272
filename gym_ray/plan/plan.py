"""The plan of a recipe: which pool takes what, how much fits, how much comes out.

All of it is arithmetic on the composed configuration; nothing is started and nothing is asked. What an engine needs
beside weights and caches (activations, captured graphs) is not counted: the sequences given are an upper bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gym_ray.models.config import ModelConfig
from gym_ray.plan.architecture import Architecture, architecture_of
from gym_ray.plan.recipe import Fact, RecipeConfig, lookup
from gym_ray.resources.load import load_server

BYTES_PER_TOKEN = 25
"""On disk: 7 to 11 in the journal and 14 in both shard formats, as measured on runs of the embedded model."""
POLICY_POOL, TRAINING_POOL = "policy", "training"


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs with one purpose. ``gpus`` of one engine; ``sequences`` at full context in one engine, None: not known."""

    name: str
    model: str
    nodes: int
    replicas: int
    gpus: int
    context: int
    weight_gb: float | None = None
    kv_kb_per_token: float | None = None
    state_mb: float | None = None
    sequences: int | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """``in_flight``: rollouts that the trainer keeps going; ``batch``: those of all engines' batches together.

    ``admitted``: what agent workers let into the air. ``disk_gb``: per training step, at most. ``problems``: where the
    pools do not add up.
    """

    pools: list[Pool]
    in_flight: int
    batch: int
    admitted: int
    step_rollouts: int
    disk_gb: float
    problems: list[str]


@dataclass(frozen=True, slots=True)
class FactRow:
    """One line of the table of published values."""

    name: str
    ours: Any
    fact: Fact

    @property
    def same(self) -> bool:
        """Ours is what was published."""
        return bool(self.ours == self.fact.published)


def make_plan(config: RecipeConfig) -> Plan:
    """The plan.

    Raises:
        UserError: an environment's class cannot be found.
    """
    recipe, collect = config.recipe, config.collect
    pools = list(_pools(config))
    policy = pools[0]
    step = recipe.training.prompts_per_step * collect.rollouts_per_task
    batch = policy.replicas * int(config.model.serve.engine_args.get("max_num_seqs", recipe.generation.max_num_seqs))
    return Plan(
        pools,
        in_flight=step * (1 + recipe.training.max_age_steps),
        batch=batch,
        admitted=collect.num_agents * collect.in_flight,
        step_rollouts=step,
        disk_gb=step * recipe.generation.context_tokens * BYTES_PER_TOKEN / 1e9,
        problems=list(_problems(config, pools)),
    )


def fact_rows(config: RecipeConfig) -> list[FactRow]:
    """Published values beside ours, in the recipe's order."""
    settings = config.model_dump(mode="json")
    return [FactRow(name, lookup(settings, name), fact) for name, fact in config.recipe.facts.items()]


def _pools(config: RecipeConfig) -> Iterator[Pool]:
    nodes, hardware = config.recipe.nodes, config.recipe.hardware
    yield _pool(POLICY_POOL, config.model, nodes.get(POLICY_POOL, 0), hardware.gpu_memory_gb)
    asked = {environment.judge for environment in config.envs.values()}
    for name, judge in config.judges.items():
        if name in asked:
            yield _pool(name, judge, nodes.get(name, 0), hardware.gpu_memory_gb)
    trained = nodes.get(TRAINING_POOL, 0)
    if trained:
        yield Pool(TRAINING_POOL, "NeMo-RL", trained, 1, trained * hardware.gpus_per_node, 0)


def _pool(name: str, model: ModelConfig, nodes: int, gpu_gb: float) -> Pool:
    if model.kind != "vllm":
        return Pool(name, model.name, 0, 0, 0, 0)
    serve, arguments = model.serve, model.serve.engine_args
    ranks = arguments.get("tensor_parallel_size", 1) * arguments.get("pipeline_parallel_size", 1)
    gpus = int(serve.num_gpus * ranks)
    context = int(arguments.get("max_model_len") or 0)
    known = architecture_of(_local(serve.path))
    pool = Pool(name, serve.path or "?", nodes, serve.num_replicas, gpus, context)
    if known is None:
        return pool
    room = gpu_gb * 1e9 * gpus * float(arguments.get("gpu_memory_utilization", 0.9)) - known.weight_bytes
    return _sized(pool, known, ranks, str(arguments.get("mamba_ssm_cache_dtype", "auto")), room)


def _local(path: str | None) -> str | None:
    from gym_ray.models.serve.deployment import local_path  # brings Ray Serve along

    return None if path is None else local_path(path)


def _sized(pool: Pool, known: Architecture, ranks: int, state_dtype: str, room: float) -> Pool:
    token, state = known.bytes_per_token(ranks), known.bytes_per_request(state_dtype)
    one = token * pool.context + state
    return Pool(
        pool.name,
        pool.model,
        pool.nodes,
        pool.replicas,
        pool.gpus,
        pool.context,
        known.weight_bytes / 1e9,
        token / 1e3,
        state / 1e6,
        max(0, int(room // one)) if pool.gpus and one else None,
        known.source,
    )


def _problems(config: RecipeConfig, pools: list[Pool]) -> Iterator[str]:
    per_node = config.recipe.hardware.gpus_per_node
    for pool in pools:
        if pool.gpus * pool.replicas > pool.nodes * per_node and pool.gpus:
            yield (
                f"{pool.name}: {pool.replicas} engines of {pool.gpus} GPUs do not fit "
                f"{pool.nodes} nodes of {per_node} (recipe.nodes.{pool.name})"
            )
        if pool.sequences == 0:
            yield f"{pool.name}: not one request of {pool.context:,} tokens fits beside the weights"
    group = config.collect.rollouts_per_task
    if group == 1 and any(load_server(environment.server).scores_groups() for environment in config.envs.values()):
        yield "collect.rollouts_per_task=1: environments that rank answers within a group need more than one"
