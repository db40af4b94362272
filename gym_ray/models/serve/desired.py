"""What a deployed model should be now: which weights, which policy version, paused or not.

The wish lives in Ray's cluster-wide key-value store, beside the endpoints: whoever starts, restarts or was
out of reach reads it and goes there. A replica never learns of an update by message alone.

Tensors have no path. They are kept, as safetensors files, in Ray's object store by a small actor of their own,
so that they outlive the process that sent them; what a replica gets of them are ordinary files again.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from gym_ray.types.errors import UserError

_NAMESPACE = "gym_ray"
_SHARED_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
FETCH_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Desired:
    """``version``: policy version, 0 as deployed. ``path``: directory of the weights; None: those of the
    settings at version 0, kept tensors at any other. ``paused``: sample nothing. ``settings``: fingerprint of
    the model's settings that all this belongs to."""

    version: int = 0
    path: str | None = None
    paused: bool = False
    settings: str = ""


class DesiredState:
    """Reads and writes the wish for one application."""

    def __init__(self, app_name: str) -> None:
        self._key, self._store = f"desired/{app_name}".encode(), f"weights/{app_name}"

    def read(self) -> Desired:
        """What is wished for now: one round trip to the cluster's head."""
        found = _internal_kv_get(self._key, namespace=_NAMESPACE.encode())
        return Desired(**orjson.loads(found)) if found else Desired()

    def write(self, desired: Desired) -> None:
        """Wish for something else."""
        _internal_kv_put(self._key, orjson.dumps(asdict(desired)), overwrite=True, namespace=_NAMESPACE.encode())

    def begin(self, settings: str) -> None:
        """A model with these settings is deployed: what was wished of another one is void."""
        if self.read().settings != settings:
            self.clear()
            self.write(Desired(settings=settings))

    def clear(self) -> None:
        """Forget the wish and whatever tensors are kept."""
        _internal_kv_del(self._key, namespace=_NAMESPACE.encode())
        with suppress(ValueError):
            ray.kill(ray.get_actor(self._store, namespace=_NAMESPACE))

    def keep(self, version: int, files: Iterable[bytes]) -> None:
        """Keep tensors for ``version``. Those of the version before stay too: an update may yet be taken back."""
        store = _Store.options(  # type: ignore[attr-defined]
            name=self._store, namespace=_NAMESPACE, lifetime="detached", get_if_exists=True, num_cpus=0
        ).remote()
        ray.get(store.begin.remote(version), timeout=FETCH_TIMEOUT_S)
        for file in files:
            # An array, unlike bytes, is not copied when it is read from the object store.
            ray.get(store.add.remote(version, np.frombuffer(file, np.uint8)), timeout=FETCH_TIMEOUT_S)

    @asynccontextmanager
    async def directory(self, desired: Desired) -> AsyncIterator[str]:
        """The weights of ``desired`` as a directory on this machine, for the time of the block.

        Raises:
            UserError: its tensors are gone.
        """
        if desired.path is not None:
            yield desired.path
            return
        with tempfile.TemporaryDirectory(prefix="gym_ray-", dir=_SHARED_MEMORY) as folder:
            await asyncio.to_thread(self._unpack, desired.version, Path(folder))
            yield folder

    def _unpack(self, version: int, folder: Path) -> None:
        try:
            store = ray.get_actor(self._store, namespace=_NAMESPACE)
            refs = ray.get(store.give.remote(version), timeout=FETCH_TIMEOUT_S)
        except (ValueError, ray.exceptions.RayError) as error:
            raise UserError(f"the tensors of version {version} are gone: update the weights again") from error
        for number, ref in enumerate(refs):
            (folder / f"model-{number:05}.safetensors").write_bytes(ray.get(ref, timeout=FETCH_TIMEOUT_S))


@ray.remote
class _Store:
    """Owns the kept files, two versions of them at most."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Any]] = {}

    def begin(self, version: int) -> None:
        self._kept[version] = []
        for old in sorted(self._kept)[:-2]:
            del self._kept[old]

    def add(self, version: int, file: Any) -> None:
        self._kept[version].append(ray.put(file))

    def give(self, version: int) -> list[Any]:
        if version not in self._kept:
            raise ValueError(f"version {version} is not kept")
        return self._kept[version]
