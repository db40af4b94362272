"""Which replicas of a model are up, and where they listen.

Each replica writes its address into Ray's cluster-wide key-value store, under the name of its actor. The
list is those whose actor lives, which the cluster knows without heartbeats or clocks: a killed replica is
gone from it as soon as Ray notices the death, and its replacement appears once it is ready.

Beside them lie the keys of the doors, so that whoever belongs to the cluster has them and nobody else: a random
token that opens the replicas' own listeners, and the key that users chose for the model.
"""

from __future__ import annotations

import asyncio
import secrets
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
        """The addresses now: two round trips to the cluster's head, and one per replica."""
        # Keys first: an actor that has announced itself is then surely among the living.
        keys = _internal_kv_list(self._key(""), namespace=_NAMESPACE)
        alive = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}
        found = []
        for key in keys:
            if key[len(self._key("")) :].decode() in alive:
                found.append(_internal_kv_get(key, namespace=_NAMESPACE))
            else:
                _internal_kv_del(key, namespace=_NAMESPACE)
        return sorted(address.decode() for address in found if address)

    def announce(self, address: str) -> None:
        """Put the calling replica on the list."""
        _internal_kv_put(self._key(own_name()), address.encode(), overwrite=True, namespace=_NAMESPACE)

    def withdraw(self) -> None:
        """Take the calling replica off the list."""
        _internal_kv_del(self._key(own_name()), namespace=_NAMESPACE)

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

    def _key(self, actor: str) -> bytes:
        return f"endpoints/{self.app_name}/{actor}".encode()


def own_name() -> str:
    """The calling actor's name."""
    name: str = ray.get_runtime_context().get_actor_name()
    return name
