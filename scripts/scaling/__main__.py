"""``scripts/scale [--quick] [--only NAME] [--json FILE] [--before FILE] [--svg FILE]``: the scale simulation.

Runs the real control code (routing, the list of replicas, board, journal, resources actors,
agent workers) against simulated agents, replicas, workers and journals at growing sizes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

from benchmark.isolation import isolate

from scaling.chart import draw
from scaling.curve import Curve

PARTS = ("routing", "board", "plan", "tokens", "journal", "worker", "exchanges", "listing")
ON_RAY = frozenset({"listing"})


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: a minute")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=PARTS, help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the curves there too; those that it has stay")
    parser.add_argument("--before", type=Path, metavar="FILE", help="curves of an earlier state, drawn dashed")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the curves of --json, or of this run")
    arguments = parser.parse_args()
    names = PARTS if arguments.only is None else arguments.only
    curves = _read(arguments.json)
    if names:
        isolate("scaling")
    if ON_RAY & set(names):
        _start_ray()
    for name in names:
        began = time.monotonic()
        for curve in importlib.import_module(f"scaling.{name}").measure(arguments.quick):
            print(curve.table(), flush=True)
            curves[curve.name] = curve
        print(f"[{name}: {time.monotonic() - began:.0f} s]", file=sys.stderr, flush=True)
        if arguments.json:
            machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
            tree = {"machine": machine, "curves": [curve.tree() for curve in curves.values()]}
            arguments.json.write_text(json.dumps(tree, indent=1) + "\n")
    if arguments.svg:
        arguments.svg.write_text(draw(curves, _read(arguments.before)))
    return 0


def _read(file: Path | None) -> dict[str, Curve]:
    if file is None or not file.exists():
        return {}
    return {one["name"]: Curve(**one) for one in json.loads(file.read_text())["curves"]}


def _start_ray() -> None:
    import ray

    ray.init(
        "local",
        num_cpus=64,
        include_dashboard=False,
        object_store_memory=256 << 20,
        log_to_driver=False,
        logging_level="error",
    )


if __name__ == "__main__":
    sys.exit(main())
