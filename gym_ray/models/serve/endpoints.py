"""Which replicas of a model are up, and where they listen.

Each replica writes a key with its actor's name and its address into Ray's cluster-wide key-value store. The
list is those whose actor lives, which the cluster knows without heartbeats or clocks: a killed replica is
gone from it as soon as Ray notices the death, and its replacement appears once it is ready. The address is in
the key, not behind it, so that a list takes two round trips however many replicas there are: every agent asks
every few seconds, and one head answers them all.

Beside them lie the keys of the doors, so that whoever belongs to the cluster has them and nobody else: a random
token that opens the replicas' own listeners, and the key that users chose for the model.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_list, _internal_kv_put

_NAMESPACE = b"gym_ray"


@dataclass(frozen=True)
class Endpoints:
    """The replicas of one application. Picklable; calling it lists them, in any process that Ray knows.

    ``await endpoints()`` -> base addresses (``http://host:port``), sorted; empty while none is up.
    """

    app_name: str

    async def __call__(self) -> list[str]:
        """The addresses now. Does not block the event loop."""
        return await asyncio.to_thread(self.list)

    def list(self) -> list[str]:
        """The addresses now: two round trips to the cluster's head."""
        # Keys first: an actor that has announced itself is then surely among the living.
        keys = self._keys("")
        alive = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}
        found = []
        for key in keys:
            actor, _, address = key.removeprefix(self._key("")).decode().rpartition(" ")
            if actor in alive:
                found.append(address)
            else:
                _internal_kv_del(key, namespace=_NAMESPACE)
        return sorted(found)

    def announce(self, address: str) -> None:
        """Put the calling replica on the list."""
        _internal_kv_put(self._key(f"{own_name()} {address}"), b"", overwrite=True, namespace=_NAMESPACE)

    def withdraw(self) -> None:
        """Take the calling replica off the list."""
        for key in self._keys(f"{own_name()} "):
            _internal_kv_del(key, namespace=_NAMESPACE)

    def token(self) -> str:
        """What opens the replicas' own listeners. Made by whoever asks first; the same as long as the cluster."""
        _internal_kv_put(self._secret("token"), secrets.token_urlsafe(32).encode(), False, namespace=_NAMESPACE)
        token: bytes = _internal_kv_get(self._secret("token"), namespace=_NAMESPACE)
        return token.decode()

    def set_user_key(self, key: str | None) -> None:
        """Set what opens all doors beside the token; replicas read it when they start."""
        _internal_kv_put(self._secret("user"), (key or "").encode(), overwrite=True, namespace=_NAMESPACE)

    def user_key(self) -> str | None:
        """The key that users chose, None when they chose none."""
        key: bytes | None = _internal_kv_get(self._secret("user"), namespace=_NAMESPACE)
        return key.decode() if key else None

    def _secret(self, name: str) -> bytes:
        return f"keys/{self.app_name}/{name}".encode()

    def _keys(self, beginning: str) -> Sequence[bytes]:
        keys: Sequence[bytes] = _internal_kv_list(self._key(beginning), namespace=_NAMESPACE)
        return keys

    def _key(self, replica: str) -> bytes:
        return f"endpoints/{self.app_name}/{replica}".encode()


def own_name() -> str:
    """The calling actor's name."""
    name: str = ray.get_runtime_context().get_actor_name()
    return name
