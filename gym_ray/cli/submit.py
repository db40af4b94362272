"""``gym-ray submit``: any command as a job of a Ray cluster; watch, stop and resume it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import Field

from gym_ray.cli.compose import compose_settings, conf_dir, group_choices
from gym_ray.cli.main import DONE, FAILED, INTERRUPTED, VERBS
from gym_ray.cli.reference import reference
from gym_ray.cluster.config import ClusterConfig
from gym_ray.types.errors import UserError
from gym_ray.types.settings import Settings

if TYPE_CHECKING:  # it loads Ray's client, which must first find the token
    from gym_ray.cluster.jobs import Job, Jobs

HELP = """\
usage: gym-ray submit [cluster=NAME] [cluster.KEY=VALUE]... [--detach] VERB WORDS...
       gym-ray submit [cluster=NAME] [cluster.KEY=VALUE]... status|logs|stop|resume [JOB]

  gym-ray submit cluster.runs=/shared/runs collect env=mcqa,math collect.num_agents=16
  gym-ray submit cluster.address=http://127.0.0.1:8265 --detach collect env=envs/store.py run_dir=s3://bucket/store
  gym-ray submit cluster.secrets=[NIM_API_KEY] collect env=mcqa model=nim model.name=... run_dir=/shared/runs/nim

  gym-ray submit status             all jobs, or one
  gym-ray submit logs JOB           follow it from its beginning; Ctrl-C leaves it running
  gym-ray submit stop JOB           nothing new is begun, what is in the air lands, shards are written
  gym-ray submit resume JOB         the same command again: it goes on where it was

The project's folder goes along; the words after VERB are those of that verb. Ctrl-C leaves the job running.
"""
ACTIONS = ("status", "logs", "stop", "resume")
DETACH = "--detach"
SHOWN = 60
"""Characters of a command in the list of jobs."""


class SubmitRequest(Settings):
    """What ``submit`` composes."""

    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    """The cluster."""


def help_text() -> str:
    """Examples, then every key."""
    return f"{HELP}\n{reference(SubmitRequest, {'cluster': group_choices([conf_dir()]).get('cluster', [])})}"


def run(words: Sequence[str]) -> int:
    """See the module."""
    own, rest = split_words(words, (*ACTIONS, *(verb.split()[0] for verb in VERBS)))
    detach = DETACH in own
    if not rest:
        raise UserError(f"submit: say what: a verb ({', '.join(VERBS)}), or one of {', '.join(ACTIONS)}")
    config = compose_settings([word for word in own if word != DETACH], SubmitRequest)[0].cluster
    action = rest[0]
    if action not in ACTIONS:
        rest = with_run_dir(rest, config)
    elif action != "status" and len(rest) != 2:
        raise UserError(f"submit {action}: which job? `gym-ray submit status` lists them")
    from gym_ray.cluster.jobs import Jobs

    jobs = Jobs(config)
    if action == "status":
        _show(jobs.find(rest[1])) if rest[1:] else _list(jobs.list())
        return DONE
    if action == "logs":
        return _follow(jobs, rest[1], own)
    if action == "stop":
        return _stop(jobs, rest[1], own, detach=detach)
    job_id = jobs.resume(rest[1]) if action == "resume" else jobs.submit(rest)
    print(f"job {job_id}", flush=True)
    return DONE if detach else _follow(jobs, job_id, own)


def split_words(words: Sequence[str], verbs: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before the first verb, and those from it on."""
    at = next((place for place, word in enumerate(words) if word in verbs), len(words))
    return list(words[:at]), list(words[at:])


def with_run_dir(words: Sequence[str], config: ClusterConfig) -> list[str]:
    """A collection's words with a ``run_dir`` that outlives the job.

    Raises:
        UserError: there is none, or it is relative.
    """
    words = list(words)
    if words[0] != "collect":
        return words
    given = next((word.partition("=")[2] for word in words if word.startswith("run_dir=")), None)
    if given is None and config.runs is None:
        raise UserError(
            "run_dir=... is missing: shared or object storage that the whole cluster reaches (/shared/runs/mine, "
            "s3://bucket/mine), or cluster.runs=... for all runs"
        )
    if given is None:
        from gym_ray.cli.collect import default_run_dir

        return [*words, f"run_dir={config.runs}/{default_run_dir(words[1:]).rpartition('/')[2]}"]
    if not given.startswith("/") and "://" not in given:
        raise UserError(
            f"run_dir={given}: it would end with the job; give an absolute path of shared storage, or s3://"
        )
    return words


def _follow(jobs: Jobs, job_id: str, own: Sequence[str]) -> int:
    """Show a job's log until it ends; its exit code is ours."""
    try:
        job = jobs.follow(job_id, _write)
    except KeyboardInterrupt:
        hints = [f"gym-ray submit {shlex.join([*own, action, job_id])}" for action in ("logs", "stop")]
        print(f"\nleft running: {job_id}\n" + "\n".join(hints), file=sys.stderr)
        return DONE
    return _ended(job, own)


def _stop(jobs: Jobs, job_id: str, own: Sequence[str], *, detach: bool) -> int:
    if not jobs.stop(job_id):
        print(f"{job_id} is {jobs.find(job_id).status.lower()} already")
        return DONE
    if not detach:
        jobs.follow(job_id, lambda text: None)
    print(f"{job_id} is {'stopping' if detach else 'stopped'}; {_again(job_id, own)}")
    return DONE


def _ended(job: Job, own: Sequence[str]) -> int:
    if job.status == "SUCCEEDED":
        return DONE
    if job.status == "STOPPED":
        print(f"{job.id} was stopped; {_again(job.id, own)}", file=sys.stderr)
        return INTERRUPTED
    print(f"{job.id} failed: {job.message[-400:]}\n{_again(job.id, own)}", file=sys.stderr)
    return job.exit_code or FAILED


def _again(job_id: str, own: Sequence[str]) -> str:
    words = [word for word in own if word != DETACH]
    return f"to go on: gym-ray submit {shlex.join([*words, 'resume', job_id])}"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _list(jobs: Sequence[Job]) -> None:
    from gym_ray.cli.tables import cell, new_table, output

    table = new_table(("job", "status", "started (UTC)", "command"), ())
    for job in jobs:
        command = shlex.join(job.words)
        shown = command if len(command) <= SHOWN else f"{command[:SHOWN]}..."
        table.add_row(job.id, job.status.lower(), _time(job.started), cell(shown))
    output().print(table)


def _show(job: Job) -> None:
    print(f"job      {job.id}\nstatus   {job.status.lower()}\nstarted  {_time(job.started)} UTC")
    print(f"command  gym-ray {shlex.join(job.words)}\nmessage  {job.message}")


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
