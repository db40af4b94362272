"""Where to send a call: sticky routing over several base addresses.

A session goes to the address with the highest rendezvous hash among those that answer, so that the turns
of one rollout find their prefix cache, in whichever process they run; when an address dies only its own
sessions move, and they come back with it. Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for
Rendezvous", 1996. All addresses are weighed at once, because a model may have a thousand replicas and each
call asks.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import numpy as np
from numpy.typing import NDArray
from yarl import URL

from gym_ray.models.failure import CallFailure
from gym_ray.types.errors import FailureKind, UserError, describe

FIRST_REST_S, LONGEST_REST_S = 0.5, 15.0
"""How long an address that nobody listens at is left alone: doubles from the first to the longest."""
REFRESH_S, REFRESH_GAP_S, LIST_TIMEOUT_S = 10.0, 0.25, 10.0
_FIRST, _SHIFT, _LAST = np.uint64(0x9E3779B97F4A7C15), np.uint64(32), np.uint64(0xD6E8FEB86659FD93)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class Address:
    """One base address and what is known of it. ``shown``: the address without secrets, for messages."""

    __slots__ = ("_urls", "base", "proxy", "resting_until", "rests", "seed", "shown")

    def __init__(self, base: str, proxy: str | None = None) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"model address {base.split('?')[0]!r} must look like http://host:port/v1")
        self.base, self.proxy, self.seed = base, proxy, _hash(base)
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.resting_until, self.rests = 0.0, 0
        self._urls: dict[str, URL] = {}

    def url(self, route: str) -> URL:
        """The address of ``route`` (``/responses``); a query string of the base is kept."""
        url = self._urls.get(route)
        if url is None:
            path, _, query = self.base.partition("?")
            url = self._urls[route] = URL(path.rstrip("/") + route + (f"?{query}" if query else ""))
        return url


def weights(seeds: NDArray[np.uint64], session: int) -> NDArray[np.uint64]:
    """Rendezvous weights of addresses for a session's hash. The multiplications mix, so that they are independent."""
    mixed = (seeds ^ np.uint64(session)) * _FIRST
    mixed ^= mixed >> _SHIFT
    mixed *= _LAST
    return mixed


def environment_proxy(base: str) -> str | None:
    """The proxy that ``http_proxy``, ``https_proxy`` and ``no_proxy`` name for ``base``; looked up once."""
    parts = urlsplit(base)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


class Addresses:
    """A fixed list of addresses. ``trouble``: why the list may be stale or empty, for messages."""

    trouble = ""

    def __init__(self, addresses: list[Address]) -> None:
        self._put(addresses)

    def _put(self, addresses: list[Address]) -> None:
        self._addresses = addresses
        self._seeds = np.array([address.seed for address in addresses], np.uint64)

    def pick(self, session: str, avoid: Collection[Address] = ()) -> Address:
        """The session's address. ``avoid``: addresses that failed this very call; used only if none is left.

        Raises:
            CallFailure: the list is empty.
        """
        if not self._addresses:
            reason = f"no replica of the model is up {self.trouble}".rstrip()
            raise CallFailure(FailureKind.TRANSPORT_UNREACHABLE, reason, lost=True)
        if len(self._addresses) == 1:
            return self._addresses[0]
        ranks = weights(self._seeds, _hash(session))
        now = time.monotonic()
        best = self._addresses[int(ranks.argmax())]
        if best.resting_until <= now and best not in avoid:
            return best
        # Only sessions whose own address is away look further.
        others: list[Address] = [self._addresses[place] for place in ranks.argsort()[::-1].tolist()]
        awake = [one for one in others if one.resting_until <= now]
        return next((one for one in awake if one not in avoid), (awake or others)[0])

    async def lost(self, address: Address | None, patience_s: float = LIST_TIMEOUT_S) -> None:
        """Nobody listened at ``address`` (None: the list was empty): leave it alone for a while."""
        if address is not None:
            rest = min(LONGEST_REST_S, FIRST_REST_S * 2.0 ** min(address.rests, 10))
            # Calls that failed together count as one sighting.
            if address.resting_until <= time.monotonic():
                address.rests += 1
                address.resting_until = time.monotonic() + rest

    def found(self, address: Address) -> None:
        """``address`` answered."""
        if address.rests:
            address.rests, address.resting_until = 0, 0.0

    @property
    def others_awake(self) -> bool:
        """True when some address may be tried at once."""
        now = time.monotonic()
        return any(one.resting_until <= now for one in self._addresses)


class LiveAddresses(Addresses):
    """A list that is asked for again: every ``REFRESH_S`` in the background, and when an address is lost.

    ``list_endpoints`` returns base addresses; an address that stays keeps what is known of it. If it raises
    or hangs, the list stays as it is and ``trouble`` says why.
    """

    def __init__(self, list_endpoints: Callable[[], Awaitable[list[str]]]) -> None:
        super().__init__([])
        self._list_endpoints = list_endpoints
        self._asked_at = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None

    def pick(self, session: str, avoid: Collection[Address] = ()) -> Address:
        """See :class:`Addresses`. Starts a refresh when the list is old, and does not wait for it."""
        if time.monotonic() - self._asked_at > REFRESH_S:
            self._start()
        return super().pick(session, avoid)

    async def lost(self, address: Address | None, patience_s: float = LIST_TIMEOUT_S) -> None:
        """See :class:`Addresses`. Waits ``patience_s`` for a fresh list, unless it was asked for just now."""
        await super().lost(address)
        if self._refreshing is None and time.monotonic() - self._asked_at < REFRESH_GAP_S:
            return
        self._start()
        if self._refreshing is not None:
            await asyncio.wait([self._refreshing], timeout=patience_s)

    def _start(self) -> None:
        if self._refreshing is None:
            self._asked_at = time.monotonic()
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh())

    async def _refresh(self) -> None:
        try:
            bases = await asyncio.wait_for(self._list_endpoints(), LIST_TIMEOUT_S)
            known = {address.base: address for address in self._addresses}
            self._put([known.get(base) or Address(base) for base in dict.fromkeys(bases)])
            self.trouble = ""
        except Exception as error:
            self.trouble = f"({describe(error)})"
        finally:
            self._refreshing = None

    async def close(self) -> None:
        """Give up a refresh that is under way."""
        if self._refreshing is not None:
            self._refreshing.cancel()
