"""Fixtures shared by all tests.

Ray listens on every interface, so tests that start it belong in a loopback-only network namespace
(``scripts/test`` makes one). Workers inherit this process's environment: the repository root goes onto
their ``PYTHONPATH``, so that classes defined in a test file can be unpickled there.

Two xdist workers have a Ray each. What starts an engine goes first and what starts nothing last, so that neither worker
is left alone with something long at the end.

Property tests try the same examples each time, so that a change is blamed for what it did;
``--hypothesis-profile=default`` tries others.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cluster", choices=["with", "without"], help="only the tests that (do not) start Ray or vLLM")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--cluster")
    if wanted is not None:
        starts = {item: any(map(item.get_closest_marker, ("ray", "vllm"))) for item in items}
        config.hook.pytest_deselected(items=[item for item in items if starts[item] != (wanted == "with")])
        items[:] = [item for item in items if starts[item] == (wanted == "with")]
    if wanted == "with":
        # Ordered by file: with xdist each file is one worker's.
        weight: dict[Path, int] = {}
        for item in items:
            weight[item.path] = max(weight.get(item.path, 0), _weight(item))
        items.sort(key=lambda item: -weight[item.path])


def _weight(item: pytest.Item) -> int:
    """Roughly how long the start takes of what the test needs."""
    return (2 if item.get_closest_marker("ray") else 0) + (1 if item.get_closest_marker("vllm") else 0)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[dict[str, Any]]:
    """One small Ray for the whole session; yields what ``ray.init`` returned (address, session directory)."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"  # As ray_session has it.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    import ray

    # Unix socket paths below this directory must stay under 107 characters.
    temp_dir = tempfile.mkdtemp(prefix="gr")
    context = ray.init(
        num_cpus=8,
        include_dashboard=False,
        object_store_memory=200_000_000,
        _temp_dir=temp_dir,
        log_to_driver=False,
        logging_level="warning",
    )
    yield dict(context.address_info)
    ray.shutdown()
    shutil.rmtree(temp_dir, ignore_errors=True)
