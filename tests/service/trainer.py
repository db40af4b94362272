"""A trainer as a process of its own: ``python -m tests.service.trainer CONFIG.json``.

Per step: submit, take, "train", checkpoint, acknowledge, new weights. Its checkpoint is a file of one line per
group, appended in one write per step; it is all that a trainer started anew knows.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import ray

from gym_ray.collect.config import RunConfig
from gym_ray.service.client import start
from gym_ray.service.config import ServiceConfig

BATCH, STEPS, AGE = 8, 25, 1


def task(number: int) -> dict[str, Any]:
    """A row for ``Sum``."""
    prompt = f"sum {number} 1"
    return {"task_id": f"t{number}", "responses_create_params": {"input": prompt}, "expected": number + 1}


def trained(file: Path) -> list[dict[str, Any]]:
    """What the checkpoint says: one record per group, in order."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Train until every group is."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    file = Path(settings["checkpoint"])
    ray.init(address=settings["address"], log_to_driver=False)
    done = trained(file)
    service = ServiceConfig(max_policy_age=AGE, open_groups=24)
    rollouts = start(RunConfig.model_validate(settings["run"]), service, cursor=done[-1]["cursor"] if done else 0)
    for step in range(len(done) // BATCH, STEPS):
        # Two steps ahead, so that surplus groups are carried over.
        for ahead in range(step, min(step + 3, STEPS)):
            rollouts.submit([task(ahead * BATCH + number) for number in range(BATCH)], key=f"step {ahead}")
        groups = rollouts.take(BATCH)
        assert len(groups) == BATCH
        time.sleep(0.3)
        lines = [
            {"id": one.id, "cursor": one.cursor, "task": one.rollouts[0].task_id, "age": one.age, "oldest": one.oldest}
            | {
                "newest": one.newest,
                "rerolls": one.rerolls,
                "rewards": [r.reward.value for r in one.rollouts if r.reward],
            }
            for one in groups
        ]
        with file.open("ab") as checkpoint:
            checkpoint.write("".join(json.dumps(line) + "\n" for line in lines).encode())
            checkpoint.flush()
            os.fsync(checkpoint.fileno())
        rollouts.acknowledge()
        rollouts.update_weights(path=settings["weights"])


if __name__ == "__main__":
    main()
