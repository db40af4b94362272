"""``gym-ray collect``: tasks in, scored trajectories out."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from gym_ray.cli.arguments import Arguments, parse_arguments
from gym_ray.cli.compose import compose_settings, conf_dir, group_choices, split_options
from gym_ray.cli.main import DONE, INTERRUPTED, TOO_MANY_FAILED
from gym_ray.cli.reference import reference
from gym_ray.collect.config import RunConfig
from gym_ray.types.errors import UserError

if TYPE_CHECKING:  # importing it for real would load Ray, which the command line alone does not need
    from gym_ray.collect.output.finalize import Summary

EXAMPLES = """\
usage: gym-ray collect env=NAME[,NAME...] [model=NAME] [tasks=PATH] [key=value]...

The embedded model on the environments' own example tasks; no GPU, no key:
  gym-ray collect env=mcqa,math collect.rollouts_per_task=4

Any OpenAI-compatible endpoint (the key is read from the variable you name, and never written anywhere):
  gym-ray collect env=mcqa tasks=mmlu.jsonl model=openai model.base_url=http://host:8000/v1 \\
      model.name=Qwen/Qwen3-8B model.api_key_env=MY_KEY model.sampling.temperature=0.7

Your own weights on vLLM, two replicas of one GPU each:
  gym-ray collect env=math tasks=aime.jsonl model=vllm model.serve.path=/models/mine model.serve.num_replicas=2

Environments whose verifier asks a model: an endpoint of its own, weights of your own, or judge=policy:
  gym-ray collect env=equivalence_llm_judge judge=openai judge.base_url=http://host:8001/v1 judge.name=my-judge

Your own environment, a class in a file (start one with: gym-ray env new NAME):
  gym-ray collect env=inventory/inventory.py:Inventory tasks=tasks.jsonl

Go on where an interrupted run stopped (the same settings; rollouts_per_task and the task files may have grown):
  gym-ray collect ... run_dir=runs/my-run

Tasks in a bucket, rows of another shape made into prompts by a template:
  gym-ray collect env=math tasks=s3://bucket/gsm8k/*.jsonl.gz tasks.prompt=prompt.yaml tasks.limit=100

Options: --print-config shows the whole configuration and ends; --config-dir DIR adds a folder like conf/ with
your own choices (DIR/model/mine.yaml is model=mine).

Exit codes: 0 done, 1 failed, 2 usage, 3 more failed rollouts than collect.max_failed_fraction, 130 interrupted.
"""


def help_text() -> str:
    """Examples, then every key."""
    return f"{EXAMPLES}\n{reference(RunConfig, group_choices([conf_dir()]))}"


def run(words: Sequence[str]) -> int:
    """See the module."""
    print_only = "--print-config" in words
    words = [word for word in words if word != "--print-config"]
    named = any(word.startswith("run_dir=") for word in words)
    if not named:
        words = [*words, f"run_dir={default_run_dir(words)}"]
    config, _ = compose_settings(words, RunConfig)
    if not config.envs:
        choices = ", ".join(group_choices([conf_dir()]).get("env", []))
        raise UserError(f"env=NAME is missing (there are: {choices}; your own: path/to/file.py:Class)")
    if print_only:
        print(config_text(config), end="")
        return DONE
    return run_collection(config, f"gym-ray collect {shlex.join(words)}")


def config_text(config: RunConfig) -> str:
    """The whole configuration as YAML, secrets redacted."""
    import yaml

    from gym_ray.collect.fingerprint import redact

    text: str = yaml.safe_dump(redact(config.model_dump(mode="json")), sort_keys=False, allow_unicode=True)
    return text


def default_run_dir(words: Sequence[str], now: datetime | None = None) -> str:
    """``runs/<UTC time>-<environments>-<model>``, a name that no directory has yet."""
    rest, folders = split_options(words)
    arguments = parse_arguments(rest, RunConfig, group_choices([*folders, conf_dir()]))
    time = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
    envs = list(arguments.envs) if len(arguments.envs) <= 4 else [f"{len(arguments.envs)}-envs"]
    name = re.sub(r"[^\w.-]+", "-", "-".join([time, *envs, _model_name(arguments)]))
    taken = 1
    while Path("runs", name if taken == 1 else f"{name}-{taken}").exists():
        taken += 1
    return f"runs/{name if taken == 1 else f'{name}-{taken}'}"


def _model_name(arguments: Arguments) -> str:
    given = next((word.partition("=")[2] for word in arguments.overrides if word.startswith("++model.name=")), "")
    return given.strip("'").rpartition("/")[2] or arguments.choices.get("model", "tiny")


def run_collection(config: RunConfig, command: str) -> int:
    """Collect, and say how it went; the exit code. ``command``: what goes on with an interrupted run."""
    from gym_ray.cli.tables import print_summary
    from gym_ray.collect.driver import collect

    resume = f"to go on: {command}"
    print(f"run directory: {config.run_dir}", file=sys.stderr)
    try:
        with _no_litter(Path(config.run_dir)):
            summary = collect(config)
    except KeyboardInterrupt:
        print(f"interrupted; what was finished is kept\n{resume}", file=sys.stderr)
        return INTERRUPTED
    print_summary(summary)
    if summary.interrupted:
        print(resume, file=sys.stderr)
        return INTERRUPTED
    excesses = list(_excesses(config, summary))
    for excess in excesses:
        print(f"{excess}; why: gym-ray runs show {config.run_dir}", file=sys.stderr)
    return TOO_MANY_FAILED if excesses else DONE


@contextlib.contextmanager
def _no_litter(folder: Path) -> Iterator[None]:
    """Remove a directory that was made for a run which could not even be planned."""
    fresh = not folder.exists()
    try:
        yield
    except UserError:
        if fresh and folder.is_dir() and not (folder / "config.yaml").exists():
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _excesses(config: RunConfig, summary: Summary) -> Iterator[str]:
    """What failed more often than the run, or one of its environments, may."""
    allowed = config.collect.max_failed_fraction
    if summary.failed_fraction > allowed:
        yield f"{summary.failed_fraction:.1%} of the rollouts failed, more than collect.max_failed_fraction={allowed:g}"
    for name, environment in config.envs.items():
        limit, found = environment.max_failed_fraction, summary.environments.get(name)
        if limit is None or found is None:
            continue
        failed = found["failed"] / max(1, found["scored"] + found["masked"] + found["failed"])
        if failed > limit:
            yield f"{failed:.1%} of the rollouts of {name} failed, more than envs.{name}.max_failed_fraction={limit:g}"
