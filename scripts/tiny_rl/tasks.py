"""Tasks for ``scripts/rl_tiny``: easy multiplications of the math environment, to train on and to measure on.

    python scripts/tiny_rl/tasks.py FOLDER        # FOLDER/train.jsonl, FOLDER/held_out.jsonl

Those to measure on are the multiplications among the first tasks of seed 11, which the embedded policy has never seen
either. Invariant: no product to measure on is trained on, in neither order of its factors.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from gym_ray.environments.math.generate import generate

HELD_OUT_SEED, HELD_OUT = 11, 256
TRAIN_SEED, TRAIN = 1, 5_000
"""Easy tasks of all kinds to look through; there are 1,440 different multiplications."""


def multiplications(count: int, seed: int) -> Iterator[tuple[frozenset[int], dict[str, Any]]]:
    """Factors and row of every multiplication among the first ``count`` tasks."""
    for row in generate(count, seed):
        if found := re.search(r"What is (\d+) \* (\d+)\?", str(row["responses_create_params"]["input"])):
            yield frozenset(map(int, found.groups())), row


def main(folder: Path) -> None:
    """Write both files."""
    measured = list(multiplications(HELD_OUT, HELD_OUT_SEED))
    taboo = {factors for factors, _ in measured}
    trained = [(factors, row) for factors, row in multiplications(TRAIN, TRAIN_SEED) if factors not in taboo]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", trained), ("held_out", measured)):
        path = folder / f"{name}.jsonl"
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for _, row in rows))
        print(f"{path}: {len(rows)} tasks")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
