"""The proof of fidelity: rollouts collected through the real path say what the weights say, token by token.

Two collections with vLLM in Serve. In bfloat16: the office environment under the policy's own template. In
float32, where nothing hides behind rounding: odd prompts that the policy never saw, and a template that strips
earlier reasoning. Every segment on disk is replayed, teacher forced, in transformers. What was read is then
damaged in the ways that records get damaged, and the same comparison must notice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from gym_ray.cli.compose import compose_settings
from gym_ray.collect.config import RunConfig
from gym_ray.collect.driver import collect
from gym_ray.environments.catalog import generator
from gym_ray.runs.replay import Difference, Recorded, recorded_segments, replay
from tests.fidelity.families import STRIPPING
from tests.models.serve.fakes import WEIGHTS as TINY
from tests.models.serve.fakes import tokenizer
from tests.support.rollouts import message_log
from tests.support.runs import jsonl_rows, parquet_rows

pytestmark = [pytest.mark.ray, pytest.mark.vllm]
WEIGHTS = str(TINY)
CHATTER = f"{Path(__file__).parent / 'chatter.py'}:Chatter"
TAKE = {"type": "function", "name": "take", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}
BOUNDS = {"bfloat16": (0.02, 2.0), "float32": (1e-5, 1e-3)}
"""Mean and maximum of the absolute difference, by the type that the engine computes in."""
RARE, FEW = 1e-3, 4
"""Share (in a small sample, number) of tokens that rounding may put more than 0.3 off: unlikely ones, where the policy
is sure of another."""
RunOf = Callable[[str], Path]


@pytest.fixture(scope="module")
def run_of(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> RunOf:
    """``run_of(dtype)``: the run directory of a collection with the engine in that type."""
    made: dict[str, Path] = {}

    def run_of(dtype: str) -> Path:
        if dtype not in made:
            made[dtype] = _collect(tmp_path_factory.mktemp(dtype), dtype)
        return made[dtype]

    return run_of


def _collect(folder: Path, dtype: str) -> Path:
    tasks, template, run = folder / "tasks.jsonl", folder / "template.jinja", folder / "run"
    template.write_text(STRIPPING)
    rows = list(generator("workplace")(70 if dtype == "bfloat16" else 20, 5))
    words = ["model=tiny", f"tasks={tasks}", f"run_dir={run}", f"model.serve.engine_args.dtype={dtype}"]
    words += ["model.sampling.max_output_tokens=200", "agent.max_turns=6"]
    words += ["collect.rollouts_per_task=4", "collect.agent_cpus=0.1"]
    if dtype == "bfloat16":
        words.append("env=workplace_easy")
    else:
        words += [f"env=[workplace_easy,{CHATTER}]", f"model.serve.chat_template={template}"]
        for number in range(110):
            prompt = {"input": f" Say {number}\n", "tools": [TAKE] if number % 2 else []}
            rows.append({"task_id": f"chat{number}", "environment": "chatter", "responses_create_params": prompt})
    tasks.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    config, _ = compose_settings(words, RunConfig)
    assert collect(config).failed == 0
    return run


def fits(found: Difference, dtype: str) -> bool:
    mean, most = BOUNDS[dtype]
    return found.mean <= mean and found.max <= most and found.far <= max(FEW, RARE * found.tokens)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_recorded_logprob_is_what_the_weights_say(run_of: RunOf, dtype: str) -> None:
    run = run_of(dtype)
    rows = parquet_rows(run)
    assert sum(row["num_turns"] > 1 for row in rows) >= 200
    found = replay(list(recorded_segments(str(run))), WEIGHTS)
    print(f"\n{dtype}: {found}")
    assert found.tokens == sum(sum(row["loss_mask"]) for row in rows) > 2000
    assert fits(found, dtype), found


def test_both_formats_say_the_same_and_segments_are_contiguous(run_of: RunOf) -> None:
    for dtype in BOUNDS:
        columns = {(row["task_id"], row["rollout_index"]): row for row in parquet_rows(run_of(dtype))}
        several = 0
        for row in jsonl_rows(run_of(dtype)):
            ours = row["gym_ray"]
            its = columns[ours["task_id"], ours["rollout_index"]]
            assert len(its["token_ids"]) == len(its["loss_mask"]) == len(its["logprobs"]) == len(its["policy_version"])
            assert sum(its["segment_lengths"]) == len(its["token_ids"])
            several += len(ours["segments"]) > 1
            if len(ours["segments"]) == 1:
                log = message_log(row)
                assert [token for part in log for token in part["token_ids"]] == its["token_ids"]
            else:
                with pytest.raises(AssertionError, match="Non-contiguous"):
                    message_log(row)
        assert (several > 0) == (dtype == "float32"), "only the stripping template begins new segments"


def shifted(one: Recorded) -> Recorded:
    """Each logprob belongs to the token before."""
    return replace(one, logprobs=np.where(one.loss_mask, np.roll(one.logprobs, 1), 0))


def masked_beside(one: Recorded) -> Recorded:
    """The mask is one token late: it leaves out each turn's first token and takes in what follows its last."""
    return replace(one, loss_mask=np.concatenate([[0], one.loss_mask[:-1]]))


def colder(one: Recorded) -> Recorded:
    """Said to be sampled at temperature 0.5; it was 1."""
    return replace(one, temperature=0.5)


def without_history(one: Recorded) -> Recorded:
    """The first eight ids are lost."""
    columns = {name: getattr(one, name)[8:] for name in ("token_ids", "loss_mask", "logprobs", "versions")}
    return replace(one, **columns)


def retokenized(one: Recorded) -> Recorded:
    """Each turn's text through the tokenizer once more, the other columns cut or filled up to fit."""
    parts: list[Any] = []
    edges = [0, *(np.flatnonzero(np.diff(one.loss_mask)) + 1), len(one.loss_mask)]
    for begin, end in pairwise(edges):
        ids, logprobs = one.token_ids[begin:end], one.logprobs[begin:end]
        if one.loss_mask[begin]:
            ids = np.array(tokenizer().encode(tokenizer().decode(ids), add_special_tokens=False))
            logprobs = np.resize(logprobs, len(ids))
        parts.append((ids, *(np.full(len(ids), of[begin]) for of in (one.loss_mask, one.versions)), logprobs))
    ids, mask, versions, logprobs = (np.concatenate(column) for column in zip(*parts, strict=True))
    return replace(one, token_ids=ids, loss_mask=mask, versions=versions, logprobs=logprobs)


def differs(one: Recorded, other: Recorded) -> bool:
    columns = ("token_ids", "loss_mask", "logprobs")
    same = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in columns)
    return not same or one.temperature != other.temperature


DAMAGES = [
    *((damage, dtype) for damage in (shifted, masked_beside, colder, without_history) for dtype in BOUNDS),
    # Only odd prompts make the policy spell a text with other tokens than the tokenizer's.
    (retokenized, "float32"),
]


@pytest.mark.parametrize(("damage", "dtype"), DAMAGES)
def test_a_damaged_record_does_not_pass(run_of: RunOf, damage: Callable[[Recorded], Recorded], dtype: str) -> None:
    pairs = ((one, damage(one)) for one in recorded_segments(str(run_of(dtype))))
    changed = list(islice((pair for pair in pairs if differs(*pair)), 64))
    assert changed
    assert fits(replay([one for one, _ in changed], WEIGHTS), dtype)
    found = replay([other for _, other in changed], WEIGHTS)
    print(f"\n{dtype} {damage.__name__} ({len(changed)}): {found}")
    assert not fits(found, dtype)
