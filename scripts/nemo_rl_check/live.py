"""NeMo-RL's rollout drivers on our actor, against workers that answer as its own do."""

from __future__ import annotations

import asyncio
import copy
import inspect
import random
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import ray

import gym_ray.environments
from gym_ray.collect.journal.index import scan
from gym_ray.collect.output.rows import make_row, to_jsonl
from gym_ray.collect.output.shards import BATCH_ROWS, plan_shards, read_batches
from gym_ray.collect.rundir import RunDir
from gym_ray.integrations.nemo_rl.flags import Flags
from gym_ray.integrations.nemo_rl.results import ResultMaker
from gym_ray.types.outcome import Outcome
from gym_ray.types.rollout import Rollout
from nemo_rl_check.table import Table
from nemo_rl_check.worker import FILL, Call, Worker

Json = dict[str, Any]
SAMPLING = {"temperature": 0.7, "top_p": 0.95}
MAX_MODEL_LEN = 4096
EACH = 4
"""Rollouts of each prompt."""
GENERATION = {**SAMPLING, "top_k": None, "max_new_tokens": MAX_MODEL_LEN, "stop_strings": None, "stop_token_ids": None}


def speak(messages: list[Json], dice: random.Random) -> str | Call:
    """A letter to a question of choice; at the office one look, then done, now and then with a leaked think tag."""
    if "Put the letter" in messages[-1]["content"]:
        return f"\\boxed{{{dice.choice('ABCD')}}}"
    if messages[-1]["role"] == "tool":
        return "</think>Done." if dice.random() < 0.3 else "Done."
    return Call("find_person", {"name": "Lena"})


def task_rows() -> list[Json]:
    """Rows as NeMo Gym's files have them: choices, office work, one that fills the window, one that exceeds it."""
    root = Path(gym_ray.environments.__file__).parent
    choices = [orjson.loads(line) for line in (root / "mcqa/examples.jsonl").read_text().splitlines()]
    office = [orjson.loads(line) for line in (root / "workplace/examples.jsonl").read_text().splitlines()]
    rows = [_row(row, "mcqa_simple_agent") for row in choices] + [_row(row, "workplace_easy") for row in office[:3]]
    full, long = _row(choices[0], "mcqa_simple_agent"), _row(choices[0], "mcqa_simple_agent")
    full["responses_create_params"]["input"] = f"Count. {FILL}"
    long["responses_create_params"]["input"] = "word " * (2 * MAX_MODEL_LEN)
    return [*rows, full, long]


def _row(row: Json, agent: str) -> Json:
    kept = {key: value for key, value in copy.deepcopy(row).items() if key not in ("environment", "task_id")}
    return {**kept, "agent_ref": {"type": "responses_api_agents", "name": agent}}


class Policy:
    """All that the drivers look at of a generation backend."""

    cfg = {"vllm_cfg": {"max_model_len": MAX_MODEL_LEN}, "model_name": "policy"}


class Live:
    """The actor, made by NeMo-RL's own code, and its drivers."""

    def __init__(self, table: Table, workers: list[Worker], urls: list[str], tokenizer: Any, folder: Path) -> None:
        self._table, self._workers, self._urls = table, workers, urls
        self._tokenizer, self._folder = tokenizer, folder
        self._run = str(folder / "live")
        self._actor: Any = None

    def check(self, original: Any) -> None:
        """Everything. ``original``: NeMo-RL's class, for its post-processing."""
        self._make()
        if self._actor is None:
            return
        self._postprocessing(original, self._drive())
        self._concurrent()
        self._single_controller()
        self._failures()
        with self._table.row("handle.health_check, shutdown", "our actor") as row:
            ray.get(self._actor.health_check.remote(), timeout=60)
            ray.get(self._actor.shutdown.remote(), timeout=120)
            row.result = "as NeMo-RL ends a run"

    def _make(self) -> None:
        import nemo_rl.environments.nemo_gym as module

        self._streaming = module.NemoGym.streaming
        settings = {"run_dir": self._run, "envs": {"workplace_easy": {}}, "collect": {"num_agents": 1}}
        settings["model"] = {"retry": {"base_s": 0.05, "max_s": 0.2, "max_attempts": 3}}
        block = {"config_paths": ["resources_servers/mcqa/configs/mcqa.yaml"], "gym_ray": settings}
        block |= {"port_range_low": 5000, "port_range_high": 5999}
        if hasattr(module, "spinup_nemo_gym_actor"):
            with self._table.row("spinup_nemo_gym_actor", "an `env.nemo_gym` block") as row:
                options = {"enable_router_replay": False, "routed_experts_dtype": "int16", "use_fastokens": False}
                self._actor = module.spinup_nemo_gym_actor(
                    {"nemo_gym": block}, self._urls, "policy", tokenizer=self._tokenizer, **options
                )
                row.result = "our actor, up, with the tokenizer"
            return
        with self._table.row("NemoGym.options().remote(NemoGymConfig)", "an `env.nemo_gym` block") as row:
            cfg = {"model_name": "policy", "base_urls": self._urls, "initial_global_config_dict": block}
            self._actor = module.NemoGym.options(runtime_env={"py_executable": sys.executable}).remote(cfg)
            assert ray.get(self._actor.health_check.remote(), timeout=300)
            row.result = "our actor, up"

    def _batch(self, rows: list[Json], each: int = EACH) -> Any:
        """As the trainer makes it, each prompt repeated."""
        import torch
        from nemo_rl.distributed.batched_data_dict import BatchedDataDict

        repeated = [copy.deepcopy(row) for row in rows for _ in range(each)]
        return BatchedDataDict(
            {
                "extra_env_info": repeated,
                "message_log": [[{"role": "user", "content": "", "token_ids": torch.tensor([])}] for _ in repeated],
                "loss_multiplier": torch.ones(len(repeated)),
            }
        )

    def _given(self, driver: Callable[..., Any], rows: list[Json], each: int = EACH, **more: Any) -> Json:
        given = {
            "policy_generation": Policy(),
            "input_batch": self._batch(rows, each),
            "tokenizer": self._tokenizer,
            "task_to_env": {"nemo_gym": self._actor},
            "generation_config": dict(GENERATION),
            "log_full_result_tables": False,
            **more,
        }
        known = inspect.signature(driver).parameters
        return {name: value for name, value in given.items() if name in known}

    def _drive(self) -> list[Json]:
        """One batch through the release's driver; returns the groups' final batches."""
        from nemo_rl.experience import rollouts

        rows = task_rows()
        driver = rollouts.run_async_nemo_gym_rollout
        with self._table.row(driver.__name__, f"{len(rows)} prompts, {EACH} rollouts each") as row:
            given = self._given(driver, rows, num_generations=EACH)
            if inspect.isasyncgenfunction(driver):
                groups = asyncio.run(_all(driver(**given)))
                assert len(groups) == len(rows)
            else:
                groups = [driver(**given)]
            batches = [group.final_batch for group in groups]
            row.result = _summary(batches, groups[-1].rollout_metrics)
            continued, strangers = (sum(getattr(one, name) for one in self._workers) for name in _SEEN)
            assert continued >= 3 * EACH
            assert strangers == 0, f"{strangers} of {continued} calls went to a worker that had not begun them"
        if hasattr(rollouts, "run_nemo_gym_rollout_sync"):
            with self._table.row("run_nemo_gym_rollout_sync", "a mixed batch, as validation has it") as row:
                result = rollouts.run_nemo_gym_rollout_sync(
                    **self._given(rollouts.run_nemo_gym_rollout_sync, rows[:7], 2)
                )
                row.result = _summary([result.final_batch], result.rollout_metrics)
        return batches

    def _postprocessing(self, original: Any, batches: list[Json]) -> None:
        """NeMo-RL's own result maker on our rows, against ours, token by token."""
        process = _unbound(original)._postprocess_nemo_gym_to_nemo_rl_result
        taken = same = 0
        with self._table.row(
            "NemoGym._postprocess_nemo_gym_to_nemo_rl_result", "the same rollouts as JSONL rows"
        ) as row:
            maker = ResultMaker(Flags(), decode=self._tokenizer.batch_decode, eos=self._tokenizer.eos_token_id)
            for rollout in _journalled(self._run):
                if rollout.outcome is Outcome.FAILED:
                    continue
                line = orjson.loads(to_jsonl(make_row(rollout)))
                theirs = process(_Stub(), *_arguments(process, orjson.loads(rollout.task), line, self._tokenizer))
                (ours,) = maker.group([rollout])
                taken, same = taken + 1, same + _equal(theirs, ours)
            assert same == taken > 0, f"{same} of {taken} equal"
            row.result = f"{taken} rollouts: message logs, flags and texts equal to ours"

    def _concurrent(self) -> None:
        from nemo_rl.experience import rollouts

        driver = rollouts.run_async_nemo_gym_rollout
        if not inspect.isasyncgenfunction(driver):
            return
        with self._table.row(driver.__name__, "8 callers at once, stamped `_ng_task_index`, 256 rollouts each") as row:

            async def both() -> list[list[Any]]:
                calls = []
                for caller in range(8):
                    rows = [{**one, "_ng_task_index": caller * 100 + at} for at, one in enumerate(_choices(64))]
                    calls.append(_all(driver(**self._given(driver, rows, num_generations=EACH))))
                return await asyncio.gather(*calls)

            found = asyncio.run(both())
            indexes = [group.task_index for groups in found for group in groups]
            assert len(indexes) == len(set(indexes)) == 8 * 64
            row.result = f"{len(indexes)} groups, each once"

    def _single_controller(self) -> None:
        if find_spec("nemo_rl.experience.rollout_manager") is None:
            return
        with self._table.row("AsyncNemoGymRolloutImpl.run_rollout", "32 prompts at once, one call each") as row:
            from nemo_rl.experience.rollout_manager import AsyncNemoGymRolloutImpl

            impl = AsyncNemoGymRolloutImpl(
                tokenizer=self._tokenizer,
                task_to_env={"nemo_gym": self._actor},
                num_generations_per_prompt=EACH,
                max_seq_len=MAX_MODEL_LEN,
                max_rollout_turns=1 if self._streaming else None,  # v0.7 wants it unset
                generation_config=dict(GENERATION),
            )

            async def all_of() -> list[Any]:
                sample = {"message_log": [{"role": "user", "content": ""}], "task_name": "nemo_gym"}
                samples = [{"extra_env_info": one, "idx": at, **sample} for at, one in enumerate(_choices(32))]
                return await asyncio.gather(*(impl.run_rollout(sample) for sample in samples))

            records = asyncio.run(all_of())
            assert all(len(record.completions) == EACH for record in records)
            row.result = f"{len(records)} groups of {EACH} completions"

    def _failures(self) -> None:
        try:
            from nemo_rl.experience.failures import classify_rollout_failure
        except ImportError:
            return
        with self._table.row("classify_rollout_failure", "what our actor raises") as row:
            wrong = {**_choices(1)[0], "agent_ref": {"name": "nobody"}}
            data = classify_rollout_failure(self._error(wrong)).value
            for worker in self._workers:
                worker.deaf = True
            infra = classify_rollout_failure(self._error(_choices(1)[0])).value
            for worker in self._workers:
                worker.deaf = False
            assert (data, infra) == ("data", "infra"), (data, infra)
            row.result = "an unknown agent: data; workers that answer nothing: infra"

    def _error(self, row: Json) -> BaseException:
        from nemo_rl.experience import rollouts

        driver = rollouts.run_async_nemo_gym_rollout
        try:
            asyncio.run(_all(driver(**self._given(driver, [row], num_generations=EACH))))
        except Exception as error:
            return error
        raise AssertionError("nothing was raised")


_SEEN = ("continued", "strangers")


class _Stub:
    """Stands for NeMo-RL's actor instance: its post-processing reads its settings only."""

    cfg: Json = {}


def _unbound(original: Any) -> Any:
    return original.__ray_metadata__.modified_class


def _arguments(process: Any, row: Json, line: Json, tokenizer: Any) -> list[Any]:
    """Older releases take no row."""
    return [row, line, tokenizer] if "nemo_gym_row" in inspect.signature(process).parameters else [line, tokenizer]


async def _all(stream: Any) -> list[Any]:
    return [one async for one in stream]


def _choices(count: int) -> list[Json]:
    """That many different questions."""
    row = task_rows()[0]
    rows = [copy.deepcopy(row) for _ in range(count)]
    for number, one in enumerate(rows):
        one["responses_create_params"]["input"][-1]["content"] += f" (question {number}) Put the letter"
    return rows


def _journalled(run: str) -> list[Rollout]:
    folder = RunDir(run)
    plans = plan_shards(scan(folder), BATCH_ROWS)
    return [rollout for plan in plans for batch in read_batches(folder, plan) for rollout in batch]


def _equal(theirs: Json, ours: Json) -> bool:
    """The same log, the same flags, the same texts beside each call."""
    if len(theirs["message_log"]) != len(ours["message_log"]):
        return False
    for one, other in zip(theirs["message_log"], ours["message_log"], strict=True):
        lists = [key for key in ("token_ids", "generation_logprobs") if key in one]
        if any([*map(float, one[key])] != [*map(float, other[key])] for key in lists):
            return False
        flags = [key for key in one if key.startswith(("is_", "has_")) or key == "role"]
        if any(one[key] != other[key] for key in flags):
            return False
    return _texts(theirs) == _texts(ours)


def _texts(result: Json) -> list[Any]:
    return [
        (item.get("prompt_str"), item.get("generation_str")) for item in result["full_result"]["response"]["output"]
    ]


def _summary(batches: list[Any], metrics: Json) -> str:
    """What the trainer would go on with."""
    count = sum(len(batch["message_log"]) for batch in batches)
    rewards = [float(one) for batch in batches for one in batch["total_reward"]]
    text = f"{count} rollouts, mean reward {sum(rewards) / len(rewards):.2f}"
    if "mask_sample" in batches[0]:
        text += f", {sum(int(batch['mask_sample'].sum()) for batch in batches)} masked"
    if "truncated" in batches[0]:
        text += f", {sum(int(batch['truncated'].sum()) for batch in batches)} truncated"
    assert metrics
    return text
