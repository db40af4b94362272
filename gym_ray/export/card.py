"""The dataset card: where an export came from, what was left out and why.

A ``README.md`` as the Hugging Face Hub reads it: the front matter names each split's file, so that
``datasets.load_dataset(folder)`` finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import yaml

from gym_ray import __version__
from gym_ray.collect.rundir import RunDir
from gym_ray.export.formats import FORMATS
from gym_ray.export.pipeline import CARD, Exported
from gym_ray.export.settings import ExportSettings
from gym_ray.runs.read import RunRecord, read_run


def write_card(address: str, name: str, settings: ExportSettings, made: Exported) -> None:
    """Write the card of what ``export(address, name, settings)`` made. Raises UserError."""
    text = "\n".join(_card(read_run(address), name, settings, made))
    RunDir(made.address).write(CARD, f"{text}\n".encode())


def _card(run: RunRecord, name: str, settings: ExportSettings, made: Exported) -> Iterator[str]:
    tally = made.tally
    files = [{"split": file.path.partition(".")[0], "path": file.path} for file in made.files]
    front = {"configs": [{"config_name": "default", "data_files": files}], "tags": ["gym-ray", name]}
    yield from ("---", yaml.safe_dump(front, sort_keys=False).rstrip(), "---", "", f"# {name}", "")
    yield f"{FORMATS[name].about}. Made by gym_ray {__version__}."
    yield from ("", "## Files", "", "| file | examples | bytes | sha256 |", "|---|---|---|---|")
    yield from (f"| {file.path} | {file.rows:,} | {file.bytes:,} | {file.sha256} |" for file in made.files)
    yield from ("", "## Source", "", *_rows(_source(run, tally.versions)))
    yield from ("", "## Settings", "", *_rows(_changed(settings)))
    yield from ("", "## Counts", "", *_rows(_counts(made)))


def _source(run: RunRecord, versions: set[int]) -> dict[str, Any]:
    model = run.config.get("model", {})
    return {
        "run": run.address,
        "state": str(run.state),
        "records (fingerprint of the manifest)": run.manifest.get("source"),
        "environments": ", ".join(run.config.get("envs", {})),
        "model": f"{model.get('name')} ({model.get('kind')})",
        "policy versions": _span(sorted(versions)),
    }


def _span(versions: list[int]) -> str:
    if not versions:
        return "unknown"
    return str(versions[0]) if len(versions) == 1 else f"{versions[0]} to {versions[-1]} ({len(versions)} of them)"


def _changed(settings: ExportSettings) -> dict[str, Any]:
    """The settings that say what was taken: those given, and the outcomes always."""
    given = settings.model_dump(mode="json", exclude_defaults=True, exclude={"out"})
    return {"outcome": settings.model_dump(mode="json")["outcome"], **given}


def _counts(made: Exported) -> dict[str, Any]:
    tally = made.tally
    return {
        "tasks read": tally.tasks,
        **{f"rollouts read, {outcome}": count for outcome, count in sorted(tally.read.items())},
        **{f"rollouts left out by `{name}`": count for name, count in tally.dropped.most_common()},
        "rollouts left": tally.kept,
        "tasks left": tally.tasks_kept,
        **{f"unfit: {why}": count for why, count in tally.unfit.most_common()},
        **({"duplicates left out": tally.duplicates} if tally.duplicates else {}),
        "examples written": made.examples,
    }


def _rows(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    for name, value in facts.items():
        shown = value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else orjson.dumps(value)
        text = shown.decode() if isinstance(shown, bytes) else shown
        yield f"| {name} | {text.replace('|', chr(92) + '|')} |"
