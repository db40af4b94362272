"""Our rollouts inside TRL's ``GRPOTrainer`` (1.16) by its ``rollout_func``; so in Unsloth, which drives that class.

    with TrlRollouts(config) as rollouts:
        trainer = GRPOTrainer(
            model=..., args=GRPOConfig(...), train_dataset=rollouts.dataset(),
            rollout_func=rollouts, reward_funcs=rollouts.reward,
        )
        trainer.train()

The trainer computes advantages and loss; sampling, tools, environments and rewards are ours. Before each batch the
model on Ray Serve gets the trainer's weights, if it has taken a step since.

Invariants: nothing is tokenized twice; a batch is sampled by one version of the weights; the trainer's prompts lead
back to their task rows, so two tasks may not have the same prompt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Self, TypeVar

import orjson

from gym_ray.collect.cluster import ray_session
from gym_ray.collect.config import RunConfig, TasksConfig
from gym_ray.collect.hosts import app_of
from gym_ray.integrations.grpo.tasks import Task, read_tasks
from gym_ray.integrations.trl.sequences import columns
from gym_ray.models.chat import chat_messages
from gym_ray.service.fleet import Fleet
from gym_ray.types.errors import UserError
from gym_ray.types.items import input_items
from gym_ray.types.rollout import Rollout

log = logging.getLogger(__name__)
T = TypeVar("T")
Messages = list[dict[str, Any]]


def whole_model(trainer: Any) -> Mapping[str, Any]:
    """The trainer's weights by the names of a checkpoint. For adapters give a function that merges them."""
    weights: Mapping[str, Any] = trainer.accelerator.unwrap_model(trainer.model).state_dict()
    return weights


class TrlRollouts:
    """A ``rollout_func`` (see the module). A context manager: inside it, model and agents are up.

    Args:
        config: a run as ``gym-ray collect`` has it, with a model that it deploys. ``tasks`` are trained on.
        weights: the trainer's weights, as ``ModelControl.update_weights`` takes them.

    Raises:
        UserError: configuration or tasks cannot work, or two tasks have the same prompt.
    """

    def __init__(self, config: RunConfig, weights: Callable[[Any], Mapping[str, Any]] = whole_model) -> None:
        if config.model.kind != "vllm":
            raise UserError("TRL trains a model that gym_ray deploys: model.kind=vllm")
        self._config, self._weights = config, weights
        self._tasks: dict[bytes, Task] = {}
        self._rows = self._register(config.tasks)
        self._stack = contextlib.ExitStack()
        self._loop = asyncio.new_event_loop()
        self._published: int | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(ray_session())
        threading.Thread(target=self._loop.run_forever, name="trl-rollouts", daemon=True).start()
        self._stack.callback(self._loop.call_soon_threadsafe, self._loop.stop)
        try:
            self._wait(self._start())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    async def _start(self) -> None:
        self._fleet = Fleet(self._config)
        self._stack.callback(lambda: self._wait(self._fleet.close()))
        await self._fleet.start()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def dataset(self, tasks: TasksConfig | None = None) -> Any:
        """A ``datasets.Dataset`` with one column, ``prompt``: the messages of each task.

        ``tasks``: others than those of the run, to evaluate on.
        """
        from datasets import Dataset

        rows = self._rows if tasks is None else self._register(tasks)
        return Dataset.from_list([{"prompt": messages} for messages in rows])

    def reward(self, reward: list[float | None], **_: Any) -> list[float | None]:
        """A reward function for the trainer: what the environments said. None: no verdict."""
        return reward

    def __call__(self, prompts: Sequence[Messages], trainer: Any) -> dict[str, Any]:
        """Roll out a batch of prompts: equal ones in a row are one group.

        Raises:
            UserError: the trainer's settings do not fit, a prompt is of no task, or nothing could be rolled out.
        """
        self._check(trainer)
        if trainer.state.global_step != self._published:
            self._publish(trainer)
        groups = [(self._task(key), len(list(same))) for key, same in groupby(map(_key, prompts))]
        made = columns(self._wait(self._roll_out(groups)))
        if made.cut:
            log.warning(
                "%d rollouts rewrote their history: only their last sequences are trained on "
                "(model.keep_reasoning=true keeps reasoning in it)",
                made.cut,
            )
        return made.fields()

    async def _roll_out(self, groups: Iterable[tuple[Task, int]]) -> list[list[Rollout]]:
        planned = [self._fleet.plan(task.row, rollouts=count, environment=task.environment) for task, count in groups]
        return list(await asyncio.gather(*map(self._fleet.run_group, planned)))

    def _publish(self, trainer: Any) -> None:
        from gym_ray.models.serve.control import ModelControl

        ModelControl(app_of(self._config.model)).update_weights(tensors=self._weights(trainer))
        self._published = trainer.state.global_step

    def _check(self, trainer: Any) -> None:
        if trainer.accelerator.num_processes > 1:
            raise UserError("TrlRollouts serves a trainer of one process")
        sampling = self._config.model.sampling | self._config.model.sampling_overrides
        ours, theirs = float(sampling.get("temperature", 1.0)), trainer.args.temperature
        if ours != theirs:
            raise UserError(f"GRPOConfig(temperature={theirs}) and model.sampling.temperature={ours} must be the same")

    def _register(self, tasks: TasksConfig) -> list[Messages]:
        """Remember which prompt is whose; returns the prompts in order."""
        prompts = []
        for task in read_tasks(self._config, tasks):
            params = orjson.loads(task.row)["responses_create_params"]
            messages = chat_messages(input_items(params))
            if self._tasks.setdefault(_key(messages), task).row != task.row:
                raise UserError(
                    f"tasks: two have the same prompt, and TRL could not tell them apart: {messages!r:.200}"
                )
            prompts.append(messages)
        return prompts

    def _task(self, key: bytes) -> Task:
        if key not in self._tasks:
            raise UserError(f"a prompt of no task: make the trainer's dataset with dataset() ({key.decode():.200})")
        return self._tasks[key]


def _key(prompt: Any) -> bytes:
    """A prompt's identity. ``datasets`` fills keys that other rows have with None."""
    return orjson.dumps(_without_none(prompt), option=orjson.OPT_SORT_KEYS)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value
