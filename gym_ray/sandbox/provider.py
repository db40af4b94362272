"""Where sandboxes come from, and one of them: the protocol that local jails, bubblewrap and containers share.

A :class:`Provider` starts a supervisor (:mod:`gym_ray.sandbox.guest.supervisor`) behind some wall and hands over the
channel to it. All the rest, programs, limits, sessions, is the same code for every wall. Invariants of a
:class:`Sandbox`:

- one request at a time; each ends within its wall limit and :data:`GRACE_S`;
- it is used by one rollout and then closed, which ends every process in it and removes every file;
- a cancelled or unanswered request closes it;
- what a program does to its own sandbox is a :class:`Result`, never an exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gym_ray.sandbox.channel import Channel, Hangup
from gym_ray.sandbox.command import Command, Killed, Limits, Result
from gym_ray.sandbox.guest.wire import Message

GRACE_S = 5.0
"""What an answer may come later than the program's own deadline, which the supervisor keeps."""
START_S = 30.0
"""Deadline for a new sandbox to be ready, seconds."""


UNSAFE = "unsafe"
"""Name of the provider that is no wall at all."""


class SandboxUnavailable(Exception):
    """No sandbox could be started: the machine's failure, so a rollout is masked, not scored."""


class Provider(Protocol):
    """Starts sandboxes. ``name``: as in the configuration. Used on one event loop."""

    name: str

    async def start(self) -> Sandbox:
        """A ready sandbox.

        Raises:
            SandboxUnavailable: with the step that failed.
        """
        ...

    async def aclose(self) -> None:
        """End all sandboxes."""
        ...


class Sandbox:
    """One wall with a supervisor behind it. ``kill``: ends everything at once; never raises."""

    def __init__(self, channel: Channel, env: dict[str, str], kill: Callable[[], None]) -> None:
        self._channel, self._env, self._kill = channel, env, kill
        self.closed = False

    async def ready(self) -> None:
        """Wait for the supervisor's first word.

        Raises:
            SandboxUnavailable: it says why it cannot serve, or nothing at all.
        """
        try:
            header, _ = await self._channel.receive(START_S)
            problem = header.get("error")
        except TimeoutError:
            problem = f"not ready after {START_S:g} s"
        except Hangup as hangup:
            problem = str(hangup)
        except BaseException:
            self.close()
            raise
        if problem:
            self.close()
            raise SandboxUnavailable(str(problem)[:500])

    async def run(self, command: Command, limits: Limits | None = None) -> Result:
        """Run a program and end whatever it leaves behind. Files it wrote stay for the next one."""
        header: dict[str, object] = {
            "op": "run",
            "files": list(command.files)[::-1],
            "env": {**self._env, **command.env},
        }
        if command.python is None:
            header["argv"] = list(command.argv)
        else:
            header["python"] = list(command.arguments)
        blobs = (command.stdin, (command.python or "").encode(errors="replace"), *command.files.values())
        return await self._ask(header, blobs, limits or Limits())

    async def execute(self, source: str, limits: Limits | None = None) -> Result:
        """Run Python in the interpreter that keeps its state between calls. It is begun by the first call, and again
        by the next one after it ended or was killed (then ``fresh``)."""
        header: dict[str, object] = {"op": "execute", "env": self._env}
        return await self._ask(header, (source.encode(errors="replace"),), limits or Limits())

    def close(self) -> None:
        """End it with everything in it. Repeating it does nothing."""
        if not self.closed:
            self.closed = True
            self._channel.close()
            self._kill()

    async def _ask(self, header: dict[str, object], blobs: tuple[bytes, ...], limits: Limits) -> Result:
        header["limits"] = limits.as_dict()
        began = asyncio.get_running_loop().time()
        try:
            if self.closed:
                raise Hangup("closed")
            answer = await self._channel.ask(header, blobs, 2 * limits.output_bytes, limits.wall_s + GRACE_S)
            return _result(answer)
        except (Hangup, TimeoutError, KeyError, TypeError, ValueError) as error:
            self.close()
            killed = Killed.DEADLINE if isinstance(error, TimeoutError) else Killed.SANDBOX
            return Result(None, killed=killed, wall_s=asyncio.get_running_loop().time() - began)
        except BaseException:
            self.close()
            raise


def _result(answer: Message) -> Result:
    header, blobs = answer
    if header.get("failed"):
        return Result(None, stderr=str(header["failed"]).encode(), killed=Killed.SANDBOX)
    return Result(
        exit=header.get("exit"),
        stdout=blobs[0],
        stderr=blobs[1],
        killed=Killed(header["killed"]),
        signal=header.get("signal"),
        cut=any(header["cut"]),
        cpu_s=float(header.get("cpu_s", 0.0)),
        wall_s=float(header["wall_s"]),
        memory_bytes=int(header.get("memory_bytes", 0)),
        fresh=bool(header.get("fresh", False)),
    )
