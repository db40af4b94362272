"""The child process that runs a cpu-bound ``verify``: ``python -m gym_ray.resources.verify_worker FD PARENT``.

Requests come and answers go over the socket ``FD``, one at a time and in order. ``verify`` runs in the main
thread, so that libraries may set their alarms; what they print goes to standard error and cannot reach the
socket. The process dies with its parent, even inside a loop that never ends.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from functools import lru_cache
from typing import Any, BinaryIO

from gym_ray.resources.config import EnvironmentConfig
from gym_ray.resources.frames import frame, read_frame
from gym_ray.resources.load import make_server
from gym_ray.resources.offspring import die_with
from gym_ray.resources.rows import load_row
from gym_ray.resources.verdict import judged, reward_of, rewards_of
from gym_ray.resources.wire import Packed, unpack
from gym_ray.types.errors import FailureKind, MaskRollout, RolloutError, UserError, describe


async def serve(requests: BinaryIO, answers: socket.socket) -> None:
    """Answer until the parent hangs up. The loop runs all the while, though reading blocks it: nothing else
    lives on it."""
    try:
        verifier = Verifier(EnvironmentConfig(**read_frame(requests)))
        answers.sendall(frame(None))
        while True:
            answers.sendall(await verifier.answer(*read_frame(requests)))
    except UserError as error:
        answers.sendall(frame(error))
    except (EOFError, ConnectionError):
        return


class Verifier:
    """One server instance that only verifies."""

    def __init__(self, config: EnvironmentConfig) -> None:
        self._server = make_server(config)
        self._task = lru_cache(maxsize=256)(lambda raw: self._server.Task.model_validate(load_row(raw)))

    async def answer(self, raw: bytes, packed: Packed | list[Packed], state: Any) -> bytes:
        """A frame with the Reward (a list of packed trajectories is a group: with all Rewards), or with the
        exception that says why there is none."""
        try:
            return frame(await self._judge(raw, packed, state))
        except (MaskRollout, RolloutError) as error:
            return frame(error)
        except Exception as error:
            return frame(MaskRollout(FailureKind.VERIFIER_ERROR, f"its verdict cannot be sent: {describe(error)}"))

    async def _judge(self, raw: bytes, packed: Packed | list[Packed], state: Any) -> Any:
        task = self._task(raw)
        if isinstance(packed, list):
            trajectories = [unpack(one) for one in packed]
            return rewards_of(await judged(self._server.verify_group(task, trajectories), None), len(packed))
        return reward_of(await judged(self._server.verify(task, unpack(packed), state), None))


def main() -> None:
    """Entry point."""
    descriptor, parent = map(int, sys.argv[1:])
    # The end of the stream is not enough: a verifier that never returns would not see it.
    die_with(parent)
    channel = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    requests = os.fdopen(os.dup(descriptor), "rb", buffering=1 << 18)
    asyncio.run(serve(requests, channel))


if __name__ == "__main__":
    main()
