"""A run's configuration on disk, and whether a new attempt may go on with what an earlier one made.

Two attempts agree when every setting that decides *what* the rollouts are is the same. Settings that only
decide how fast, where or how patiently they are made may differ (:data:`FREE`); rollouts per task may grow
and environments may be added. Secrets are no part of a configuration (it names environment variables
instead); values that look like one in its free-form parts are redacted before they are written or compared.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import yaml

from gym_ray.collect.rundir import CONFIG, JOURNAL, MANIFEST, RunDir
from gym_ray.types.errors import UserError

FREE: dict[str, str] = {
    "run_dir": "the directory may have been moved",
    "tasks.*": "the plan compares the tasks themselves",
    "envs.*.tasks": "the plan compares the tasks themselves",
    "envs.*.limit": "the plan compares the tasks themselves",
    "envs.*.in_flight": "how many at once",
    "envs.*.max_failed_fraction": "a judgement about the end",
    "envs.*.agent.rollout_timeout_s": "patience",
    "collect.num_agents": "how many hands",
    "collect.max_agents": "how many hands",
    "collect.agent_*": "how many hands, and where",
    "collect.in_flight": "how many at once",
    "collect.block_rollouts": "how work is cut",
    "collect.part": "who makes it",
    "collect.max_attempts": "patience",
    "collect.max_worker_deaths": "patience",
    "collect.group_deadline_s": "patience",
    "collect.fsync": "durability of what is written from now on",
    "collect.formats": "shards are made anew from the journal",
    "collect.rows_per_shard": "shards are made anew from the journal",
    "collect.max_failed_fraction": "a judgement about the end",
    "collect.watchdog_s": "what is logged",
    "collect.trace": "what is logged",
    "collect.resume": "this very decision",
    "model.base_url": "the same model, served elsewhere",
    "model.api_key_env": "who pays",
    "model.headers.*": "who asks",
    "model.max_concurrency": "how many at once",
    "model.timeout_s": "patience",
    "model.connect_timeout_s": "patience",
    "model.retry.*": "patience",
    "model.serve.app": "what it is called",
    "model.serve.num_*": "size of the deployment",
    "model.serve.max_replicas": "size of the deployment",
    "model.serve.calls_per_replica": "size of the deployment",
    "model.serve.shrink_after_s": "size of the deployment",
    "model.serve.resources.*": "where it runs",
    "model.serve.labels.*": "where it runs",
    "model.serve.env.*": "the hosts it runs on",
    "model.serve.startup_timeout_s": "patience",
    "agent.rollout_timeout_s": "patience",
    "agent.url": "the same agent, elsewhere",
    "agent.listen_host": "where it runs",
    "trackers.*": "who is told",
    "envs.*.placement": "where it runs",
    "envs.*.num_*": "size of the pool",
    "envs.*.resources.*": "where it runs",
    "envs.*.labels.*": "where it runs",
    "envs.*.max_restarts": "patience",
    "envs.*.max_sessions": "how many at once",
    "envs.*.session_ttl_s": "patience",
    "envs.*.verify_workers": "size of the pool",
    "envs.*.*_timeout_s": "patience",
}
"""Settings that may change between attempts (shell patterns over dotted names), each with the reason."""
FREE |= {f"judges.*.{key.removeprefix('model.')}": why for key, why in FREE.items() if key.startswith("model.")}

MAY_GROW = ("collect.rollouts_per_task", "envs.*.rollouts_per_task")
_FREE_FORM = frozenset({"headers", "env", "extra_body", "options", "engine_args"})
_SECRET = re.compile(
    r"(authorization|api[-_]?key|access[-_]?key|token|secret|password|passwd|cookie|credentials?)$", re.I
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+(?=@)")
REDACTED = "<redacted>"


def write_config(run: RunDir, config: dict[str, Any]) -> None:
    """Write ``config.yaml``: the resolved configuration without secrets. Raises UserError."""
    run.write(CONFIG, yaml.safe_dump(redact(config), sort_keys=False, allow_unicode=True).encode())


def check_resumable(run: RunDir, config: dict[str, Any]) -> bool:
    """True when ``run`` holds an earlier attempt that ``config`` may go on with, False when it holds none.

    Raises:
        UserError: the earlier attempt was configured otherwise (one line per setting that differs), its
            journal was removed after the end, or ``collect.resume`` is off.
    """
    if not run.exists(CONFIG):
        return False
    if not config.get("collect", {}).get("resume", True):
        raise UserError(f"{run.address} holds a run already, and collect.resume=false")
    if run.exists(MANIFEST) and not run.names(JOURNAL, ".seg"):
        raise UserError(f"{run.address} is finished and its journal is gone: it can be read, not gone on with")
    old: dict[str, Any] = yaml.safe_load(run.read(CONFIG)) or {}
    before, after = _flatten(old), _flatten(redact(config))
    lines = [
        f"  {key}: {before.get(key, '(unset)')} there, {after.get(key, '(unset)')} now"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and not _is_new(key, old)
        and not _may_differ(key, before.get(key), after.get(key))
    ]
    if lines:
        head = f"{run.address} holds a run with other settings: set them back, or choose another run_dir"
        raise UserError("\n".join([head, *lines]))
    return True


def redact(config: Any, *, free_form: bool = False) -> Any:
    """A copy without secrets: values of secret-looking keys in free-form parts, user names in addresses."""
    if isinstance(config, dict):
        return {
            key: REDACTED if free_form and value and _SECRET.search(str(key)) else _redact_item(key, value, free_form)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [redact(value, free_form=free_form) for value in config]
    if isinstance(config, str):
        return _USERINFO.sub(REDACTED, str(config))
    return config


def _redact_item(key: Any, value: Any, free_form: bool) -> Any:
    return redact(value, free_form=free_form or key in _FREE_FORM)


def _flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted name. Empty mappings and unset values are left out: they say nothing."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            leaves |= _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            leaves[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return leaves


def _is_new(key: str, old: dict[str, Any]) -> bool:
    """A run may take on further environments, and judges for them; the plan then grows by theirs."""
    group, _, rest = key.partition(".")
    return group in ("envs", "judges") and rest.partition(".")[0] not in (old.get(group) or {})


def _may_differ(key: str, before: Any, after: Any) -> bool:
    if any(fnmatchcase(key, pattern) for pattern in MAY_GROW):
        return isinstance(before, int) and isinstance(after, int) and after >= before
    return any(fnmatchcase(key, pattern) for pattern in FREE)
