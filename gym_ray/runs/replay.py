"""Recorded logprobs against the weights that sampled them: the proof that token records are what the model did.

Each segment of a run's Parquet shards goes through the weights once more in transformers, whole and teacher
forced: the logprob of every token with loss mask 1 is computed anew, given all ids before it in its segment,
and compared with the one on record. A token that was retokenized, shifted, masked wrongly, attributed to the
wrong segment or sampled at another temperature shows as a large difference.

The weights are computed with in float32, whatever the engine computes in, so that the only rounding that shows
is the engine's own: ``docs/tokens.md`` says how much to expect.

By hand: ``python -m gym_ray.runs.replay RUN [WEIGHTS]``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq

from gym_ray.collect.rundir import ROLLOUTS, RunDir
from gym_ray.runs.read import read_run
from gym_ray.types.errors import UserError

FAR = 0.3
"""A logprob that is further off is no rounding, but for a rare token of a policy sure of another."""
BATCH_TOKENS = 16_384
"""Ids per forward pass, padding counted."""
_COLUMNS = (
    "task_id",
    "rollout_index",
    "token_ids",
    "loss_mask",
    "logprobs",
    "policy_version",
    "segment_lengths",
    "extra",
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One segment as written, one entry per token in each column. ``name``: which one it is."""

    name: str
    token_ids: np.ndarray
    loss_mask: np.ndarray
    logprobs: np.ndarray
    versions: np.ndarray
    temperature: float = 1.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Absolute differences of natural-log probabilities over ``tokens`` sampled tokens.

    ``far``: how many are more than ``FAR`` apart. ``worst``: where ``max`` is.
    """

    tokens: int
    mean: float
    far: int
    max: float
    worst: str


def recorded_segments(address: str, limit: int | None = None) -> Iterator[Recorded]:
    """Every segment of the first ``limit`` rollouts (all by default) that has sampled tokens.

    Raises:
        UserError: no run there, no Parquet shards, or sampled in a way that cannot be computed anew.
    """
    run = RunDir.open(address)
    parts = run.names(ROLLOUTS, ".parquet")
    if not parts:
        raise UserError(f"{address} has no Parquet shards: collect with collect.formats=[parquet]")
    left = limit
    for part in parts:
        with run.filesystem.open_input_file(run.path(f"{ROLLOUTS}/{part}")) as source:
            rows = pq.read_table(source, columns=list(_COLUMNS)).slice(0, left).to_pylist()
        left = None if left is None else left - len(rows)
        for row in rows:
            yield from _segments(row)


def _segments(row: dict[str, Any]) -> Iterator[Recorded]:
    name = f"{row['task_id']}/{row['rollout_index']}"
    temperature = _temperature(orjson.loads(row["extra"])["gym_ray"]["sampling"], name)
    columns = (("token_ids", "i8"), ("loss_mask", "i1"), ("logprobs", "f4"), ("policy_version", "i4"))
    ids, mask, logprobs, versions = (np.array(row[column], kind) for column, kind in columns)
    end = 0
    for number, length in enumerate(row["segment_lengths"]):
        its = slice(end, end := end + length)
        if mask[its].any():
            yield Recorded(f"{name} segment {number}", ids[its], mask[its], logprobs[its], versions[its], temperature)


def _temperature(sampling: dict[str, Any], name: str) -> float:
    """The one sampling parameter that is computed anew; others would need the engine itself."""
    temperature = float(sampling.get("temperature", 1.0))
    if temperature <= 0 or sampling.get("top_p", 1.0) < 1 or (sampling.get("top_k") or 0) > 0 or sampling.get("min_p"):
        raise UserError(f"{name}: replay needs temperature > 0 and no top_p, top_k or min_p; it was sampled {sampling}")
    return temperature


def replay(segments: Sequence[Recorded], weights: str) -> Difference:
    """Compare ``segments`` with what ``weights`` (a folder, or a hub's name) say of them.

    Raises:
        UserError: there is nothing to compare.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if not segments:
        raise UserError("no sampled tokens to replay")
    model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()
    total, count, far, worst = 0.0, 0, 0, (-1.0, "")
    with torch.inference_mode():
        for batch in _batches(segments):
            for segment, found in zip(batch, _forced_logprobs(model, batch), strict=True):
                apart = _apart(segment, found)
                total, count = total + float(apart.sum()), count + int(segment.loss_mask.sum())
                far += int((apart > FAR).sum())
                worst = max(worst, (float(apart.max()), f"{segment.name} position {apart.argmax()}"))
    return Difference(count, total / count, far, *worst)


def _apart(segment: Recorded, found: np.ndarray) -> np.ndarray:
    """Absolute difference at each position; infinite for a NaN, and where mask and policy version contradict."""
    apart = np.zeros(len(segment.token_ids))
    apart[segment.loss_mask == 1] = np.abs(found - segment.logprobs[segment.loss_mask == 1].astype(np.float64))
    broken = np.isnan(apart) | ((segment.loss_mask == 1) != (segment.versions >= 0))
    return np.where(broken, np.inf, apart)


def _batches(segments: Sequence[Recorded]) -> Iterator[list[Recorded]]:
    """Segments of similar length together, so that little is padding."""
    batch: list[Recorded] = []
    for segment in sorted(segments, key=lambda one: len(one.token_ids)):
        if batch and len(segment.token_ids) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(segment)
    if batch:
        yield batch


def _forced_logprobs(model: Any, batch: list[Recorded]) -> list[np.ndarray]:
    """Logprobs of each segment's masked tokens, in order."""
    import torch

    longest = max(len(segment.token_ids) for segment in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    present = torch.zeros(len(batch), longest, dtype=torch.long)
    for row, segment in enumerate(batch):
        # Padding stands to the right: positions and attention of real tokens are what they were.
        ids[row, : len(segment.token_ids)] = torch.from_numpy(segment.token_ids)
        present[row, : len(segment.token_ids)] = 1
    hidden = model.base_model(input_ids=ids, attention_mask=present, use_cache=False).last_hidden_state
    found = []
    for row, segment in enumerate(batch):
        at = torch.from_numpy(np.flatnonzero(segment.loss_mask))
        logits = model.get_output_embeddings()(hidden[row, at - 1]) / segment.temperature
        logprobs = torch.log_softmax(logits, -1).gather(1, ids[row, at, None])[:, 0]
        found.append(logprobs.double().numpy())
    return found


def main(words: Sequence[str]) -> None:
    """``RUN [WEIGHTS]``: print the difference. Without WEIGHTS: those that the run's configuration names."""
    path = words[1] if len(words) > 1 else str(read_run(words[0]).config["model"]["serve"]["path"])
    package, _, folder = path.removeprefix("package://").partition("/")
    found = replay(list(recorded_segments(words[0])), str(files(package) / folder) if "://" in path else path)
    print(f"{found.tokens:,} sampled tokens; |difference| of logprobs: mean {found.mean:.2g}, ", end="")
    print(f"max {found.max:.2g} ({found.worst})")


if __name__ == "__main__":
    main(sys.argv[1:])
