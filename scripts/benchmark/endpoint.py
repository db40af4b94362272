"""The mock endpoint as a process that a scenario starts, asks and ends."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmark.mock import Script

SCRIPTS = Path(__file__).parent.parent
"""Where the package of this benchmark is found."""


@dataclass(frozen=True)
class Endpoint:
    """A running mock. ``base_url`` ends in ``/v1``."""

    pid: int
    base_url: str

    def stats(self) -> dict[str, Any]:
        """Its counters (see ``mock.Counters``)."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/stats", timeout=30) as reply:
            stats: dict[str, Any] = json.load(reply)
        return stats


@contextlib.contextmanager
def endpoint(script: Script) -> Iterator[Endpoint]:
    """A mock that answers as ``script`` says, while the block runs."""
    command = [sys.executable, "-m", "benchmark.mock", "--script", json.dumps(asdict(script))]
    with subprocess.Popen(command, cwd=SCRIPTS, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Endpoint(process.pid, f"http://127.0.0.1:{port}/v1")
        finally:
            process.terminate()
