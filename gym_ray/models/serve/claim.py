"""Whose a model's application is: at most one run's at a time.

Serve would replace the model of a run that goes on by that of one that begins, or take it away from one when the
other ends. So whoever deploys writes down who they are, in the cluster's key-value store, before anything starts, and
looks who else is written there. Of two that come at once at least one is refused. Who has died has no claim, so a run
that goes on after the death of its driver takes over, without clocks.
"""

from __future__ import annotations

import time

import ray
from ray._private.state import actors, jobs
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_list, _internal_kv_put

from gym_ray.types.errors import UserError

_NAMESPACE = b"gym_ray"
DYING_S = 10.0
"""So long the cluster may take to notice that an owner is dead."""
LOOK_S = 0.5


def claim(app_name: str) -> None:
    """Make the application this process's: it, or the actor that it is, must live for as long as it is used.

    Raises:
        UserError: it belongs to somebody who lives.
    """
    mine, due = _me(), time.monotonic() + DYING_S
    _internal_kv_put(_key(app_name, mine), b"", overwrite=True, namespace=_NAMESPACE)
    while others := [one for one in _claims(app_name) if one != mine]:
        for one in others:
            if not _lives(one):
                _internal_kv_del(_key(app_name, one), namespace=_NAMESPACE)
            elif time.monotonic() > due:
                _internal_kv_del(_key(app_name, mine), namespace=_NAMESPACE)
                raise UserError(
                    f"the model application `{app_name}` of this cluster belongs to another run ({_who(one)}): give "
                    "this one a name of its own with model.serve.app=NAME (judges.NAME.serve.app for a judge), or ask "
                    "a model that both share (gym-ray serve, model=openai)"
                )
        time.sleep(LOOK_S)


def release(app_name: str) -> None:
    """Give it back."""
    _internal_kv_del(_key(app_name, _me()), namespace=_NAMESPACE)


def _me() -> str:
    context = ray.get_runtime_context()
    actor: str | None = context.get_actor_id()
    return f"actor-{actor}" if actor else f"job-{context.get_job_id()}"


def _lives(owner: str) -> bool:
    kind, _, name = owner.partition("-")
    if kind == "actor":
        return bool(actors(name).get("State", "DEAD") != "DEAD")
    return any(job["JobID"] == name and not job["IsDead"] for job in jobs())


def _who(owner: str) -> str:
    kind, _, name = owner.partition("-")
    found = next((job for job in jobs() if kind == "job" and job["JobID"] == name), None)
    return f"{kind} {name}" + (f", process {found['DriverPid']} on {found['DriverIPAddress']}" if found else "")


def _claims(app_name: str) -> list[str]:
    prefix = _key(app_name, "")
    return [key[len(prefix) :].decode() for key in _internal_kv_list(prefix, namespace=_NAMESPACE)]


def _key(app_name: str, owner: str) -> bytes:
    return f"claims/{app_name}/{owner}".encode()
