"""Live weights of a deployed model, for trainers: ``ModelControl("policy")`` in any process that Ray knows.

    control = ModelControl("policy")            # the application that `gym-ray collect` deploys
    control.update_weights(path="/ckpt/step-10")            # version 1, on every replica
    control.update_weights(tensors=model.state_dict())      # version 2, without a file system
    control.pause("wait"); ...; control.resume()

Invariants: versions only grow; weights that cannot be this model's are refused before anything changes; the
wish is written before replicas are told, so that one that starts or comes back later reads it; a replica that
fails on the way is broken, off the list, and named in the report. Every token carries the version that
sampled it, so a collection may go on through all of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray import serve

from gym_ray.models.serve.checkpoint import Shapes
from gym_ray.models.serve.desired import DesiredState
from gym_ray.models.serve.live import Followed, PauseMode
from gym_ray.types.errors import UserError, describe

CHUNK_BYTES = 1 << 30
"""Tensors travel in files of about this size."""


@dataclass(frozen=True)
class Update:
    """``replicas``: what each did. ``pause_s``: longest time that one of them sampled nothing, in seconds."""

    version: int
    replicas: list[Followed]

    @property
    def pause_s(self) -> float:
        """See the class."""
        return max(one.pause_s for one in self.replicas)

    @property
    def failed(self) -> dict[str, str]:
        """Replica -> why it could not follow. It is off the list, and Serve replaces it."""
        return {one.replica: one.error for one in self.replicas if one.error is not None}


class ModelControl:
    """All replicas of one application at once. Blocking; ``timeout_s`` bounds each step."""

    def __init__(self, app_name: str = "model", timeout_s: float = 600.0) -> None:
        self._app_name, self._timeout_s = app_name, timeout_s
        self._state = DesiredState(app_name)

    def version(self) -> int:
        """The newest policy version: that of every replica, or what it is on its way to."""
        return self._state.read().version

    def paused(self) -> bool:
        """Whether the model is to sample nothing."""
        return self._state.read().paused

    def update_weights(
        self,
        path: str | None = None,
        tensors: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None,
        version: int | None = None,
        mode: PauseMode = "keep",
    ) -> Update:
        """Give every replica new weights, as ``version`` (default: the next one).

        ``path``: a directory of safetensors files that every replica can read. ``tensors``: names and torch
        tensors as a checkpoint of this model has them, on any device. ``mode``: what becomes of running
        requests (:data:`~gym_ray.models.serve.live.PauseMode`). A model that was paused stays paused.

        Raises:
            UserError: not a newer version, not this model's weights, or no replica could load them (then
                those of before remain the wish).
        """
        before = self._state.read()
        version = before.version + 1 if version is None else version
        if version <= before.version:
            raise UserError(f"version {version}: the model has version {before.version}, and versions only grow")
        if (path is None) == (tensors is None):
            raise UserError("update_weights: give either path or tensors")
        if tensors is None:
            self._check(path, None)
        else:
            named = dict(tensors)
            self._check(None, {name: list(tensor.shape) for name, tensor in named.items()})
            self._state.keep(version, _files(named))
        self._state.write(replace(before, version=version, path=path))
        update = Update(version, self._follow(mode))
        if len(update.failed) == len(update.replicas):
            self._state.write(before)
            raise UserError(f"no replica could load version {version}: {next(iter(update.failed.values()))}")
        return update

    def pause(self, mode: PauseMode = "keep") -> None:
        """Stop sampling on every replica; returns once nothing is sampled. Calls wait; none is lost."""
        self._set_paused(True, mode)

    def resume(self) -> None:
        """Go on, with whatever weights there are by now."""
        self._set_paused(False, "keep")

    def _set_paused(self, paused: bool, mode: PauseMode) -> None:
        self._check(None, None)
        self._state.write(replace(self._state.read(), paused=paused))
        errors = [one.error for one in self._follow(mode) if one.error]
        if errors:
            raise UserError(f"{len(errors)} replica(s) could not {'pause' if paused else 'resume'}: {errors[0]}")

    def _check(self, path: str | None, shapes: Shapes | None) -> None:
        answers = self._broadcast("check_weights", path, shapes)
        # One that died says nothing about the weights, and its successor reads the wish.
        wrong = [answer for answer in answers if isinstance(answer, str)]
        if not wrong and all(isinstance(answer, BaseException) for answer in answers):
            wrong = [describe(answers[0])]
        if wrong:
            raise UserError(f"model {self._app_name!r}: {wrong[0]}")

    def _follow(self, mode: PauseMode) -> list[Followed]:
        answers = self._broadcast("follow", mode)
        return [
            one if isinstance(one, Followed) else Followed("unknown", -1, False, error=describe(one)) for one in answers
        ]

    def _broadcast(self, method: str, *arguments: Any) -> list[Any]:
        """Each replica's answer, or the exception in its place."""
        handle = serve.get_app_handle(self._app_name)
        if not hasattr(handle, "broadcast"):
            raise UserError(
                f"live weights need Ray 2.56 or newer, here is {ray.__version__}: its Serve cannot call all replicas"
            )
        answers: list[Any] = handle.broadcast(method, *arguments).results(
            timeout_s=self._timeout_s, return_exceptions=True
        )
        if not answers:
            raise UserError(f"no replica of {self._app_name!r} is up")
        return answers


def _files(tensors: Mapping[str, Any]) -> Iterator[bytes]:
    """Safetensors files that together hold ``tensors``."""
    from safetensors.torch import save

    chunk: dict[str, Any] = {}
    size = 0
    for name, tensor in tensors.items():
        chunk[name] = tensor.detach().cpu().contiguous()
        size += chunk[name].nbytes
        if size >= CHUNK_BYTES:
            yield save(chunk)
            chunk, size = {}, 0
    if chunk:
        yield save(chunk)
