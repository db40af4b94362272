"""``report.html``: a finished run's page as one file."""

from __future__ import annotations

from typing import Any

from gym_ray.collect.rundir import RunDir
from gym_ray.runs.groups import read_groups
from gym_ray.runs.profile import Thresholds
from gym_ray.runs.read import read_run
from gym_ray.runs.report.overview import overview
from gym_ray.runs.report.page import report_page
from gym_ray.runs.report.sample import ROLLOUTS, sample
from gym_ray.runs.report.shards import Shards
from gym_ray.runs.report.texts import TokenTexts, token_texts

REPORT = "report.html"


def write_report(
    address: str, thresholds: Thresholds | None = None, rollouts: int = ROLLOUTS, tokenizer: str | None = None
) -> dict[str, Any]:
    """Write ``report.html`` into the run's directory. ``rollouts``: most that it holds in full.

    Returns ``{path, bytes, rollouts, of}``. Raises UserError: no run there, no shards, a damaged one, or it cannot
    be written.
    """
    run = RunDir.open(address)
    data = report_data(address, thresholds, rollouts, token_texts(read_run(address), tokenizer))
    page = report_page(data)
    run.write(REPORT, page.html)
    held = len(data["sample"]["rows"])
    return {"path": run.path(REPORT), "bytes": len(page.html), "rollouts": held, "of": data["sample"]["of"]}


def report_data(address: str, thresholds: Thresholds | None, rollouts: int, texts: TokenTexts) -> dict[str, Any]:
    """What the page shows: ``{status, overview, sample}``."""
    record = read_run(address)
    made = overview(record, read_groups(address, prompts=False), thresholds)
    source = Shards(RunDir.open(address))
    status = {
        "run": address,
        "state": str(record.state),
        "live": False,
        "expected": record.expected,
        "found": len(source.index),
        "environments": sorted(source.index.environments.texts),
        "failures": sorted(source.index.failures.texts[1:]),
    }
    return {"status": status, "overview": made, "sample": sample(source, texts, rollouts)}
