"""Commands as jobs of a running Ray, by its Jobs API.

A job's metadata holds the words of its command, so that :meth:`Jobs.resume` needs nothing but its id. Two jobs never
write one run: what still runs is not resumed. Stopping is Ctrl-C from afar: nothing new is begun, what is in the air
may land within ``cluster.drain_s``, shards are written.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import secrets
import shlex
import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from gym_ray.cluster.config import ClusterConfig
from gym_ray.cluster.project import relocate, runtime_env
from gym_ray.types.errors import UserError, describe

T = TypeVar("T")
ENTRY = "python -m gym_ray.cluster.job"
WORDS = "gym_ray"
"""The metadata key under which a job's words are."""
ANSWER_S, UPLOAD_S = 60.0, 900.0
"""Deadlines of one question to the cluster, and of sending the project."""
LOOK_S = 5.0
"""Seconds of silence in a job's log after which its status is asked for."""
RECONNECTS = 30
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, slots=True)
class Job:
    """One job. ``words``: of its command; empty for jobs of others. ``exit_code``: None while there is none."""

    id: str
    status: str
    message: str
    words: list[str]
    started: float | None
    exit_code: int | None

    @property
    def ended(self) -> bool:
        """It runs no more."""
        return self.status in ENDED


class Jobs:
    """The jobs of the cluster at ``config.address``.

    Raises:
        UserError: from any method: nothing answers there, or it wants another token (one line).
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        _show_token(config.auth_token_path)
        from ray.job_submission import JobSubmissionClient

        self._client: Any = self._ask(lambda: JobSubmissionClient(config.address), ANSWER_S)

    def submit(self, words: Sequence[str]) -> str:
        """Send the project and start a command; returns the job's id."""
        moved, environment = relocate(words, self._config), runtime_env(self._config)
        return self._start(moved, environment)

    def resume(self, job_id: str) -> str:
        """Start the command of a job that has ended once more; a collection goes on where it was.

        Raises:
            UserError: it still runs, or is none of ours.
        """
        job = self.find(job_id)
        if not job.words:
            raise UserError(f"{job_id} was not started by gym-ray submit")
        if not job.ended:
            raise UserError(f"{job_id} is {job.status}: stop it first (gym-ray submit stop {job_id})")
        return self._start(job.words, runtime_env(self._config))

    def _start(self, words: Sequence[str], environment: dict[str, Any]) -> str:
        job_id = f"{words[0]}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        started: str = self._ask(
            lambda: self._client.submit_job(
                entrypoint=f"exec {ENTRY} {shlex.join(words)}",
                submission_id=job_id,
                runtime_env=environment,
                metadata={WORDS: json.dumps(list(words))},
            ),
            UPLOAD_S,
        )
        return started

    def find(self, job_id: str) -> Job:
        """One job as it is now.

        Raises:
            UserError: there is none.
        """
        return _job(self._ask(lambda: self._client.get_job_info(job_id), ANSWER_S))

    def list(self) -> list[Job]:
        """All submitted jobs, the oldest first."""
        details = self._ask(self._client.list_jobs, ANSWER_S)
        return sorted((_job(one) for one in details if one.submission_id), key=lambda job: job.started or 0.0)

    def stop(self, job_id: str) -> bool:
        """Ask a job to end; returns at once. False: it did not run."""
        return bool(self._ask(lambda: self._client.stop_job(job_id), ANSWER_S))

    def follow(self, job_id: str, write: Callable[[str], object]) -> Job:
        """Hand the job's log, from its beginning, to ``write`` as it comes, until it has ended."""
        shown = 0
        for _ in range(RECONNECTS):
            shown = asyncio.run(self._tail(job_id, shown, write))
            job = self.find(job_id)
            if job.ended:
                rest = self._ask(lambda: self._client.get_job_logs(job_id), ANSWER_S)[shown:]
                write(rest)
                return job
        raise UserError(f"{job_id}: its log cannot be followed; it goes on: gym-ray submit logs {job_id}")

    async def _tail(self, job_id: str, shown: int, write: Callable[[str], object]) -> int:
        """Write what comes after the first ``shown`` characters; returns how many there were in all."""
        seen = 0
        async with aclosing(self._client.tail_job_logs(job_id)) as chunks:
            while True:
                following = asyncio.ensure_future(anext(chunks, None))
                while not (await asyncio.wait({following}, timeout=LOOK_S))[0]:
                    if (await asyncio.to_thread(self.find, job_id)).ended:
                        following.cancel()
                        await asyncio.wait({following})
                        return max(shown, seen)
                if following.exception() is not None or (chunk := following.result()) is None:
                    await asyncio.sleep(0.2)
                    return max(shown, seen)
                write(chunk[max(0, shown - seen) :])
                seen += len(chunk)

    def _ask(self, question: Callable[[], T], deadline_s: float) -> T:
        """The answer. In a thread, because Ray's client knows no deadlines."""
        answers: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()

        def ask() -> None:
            try:
                answers.put((question(), None))
            except Exception as error:
                answers.put((None, error))

        threading.Thread(target=ask, name="jobs", daemon=True).start()
        try:
            answer, error = answers.get(timeout=deadline_s)
        except queue.Empty:
            raise self._problem(f"no answer within {deadline_s:g} s") from None
        if error is not None:
            raise self._explained(error)
        result: T = answer
        return result

    def _explained(self, error: Exception) -> UserError:
        kind, text = type(error).__name__, " ".join(str(error).split())
        if kind == "AuthenticationError" or "401" in text or "403" in text:
            wish = "cluster.auth_token_path=FILE or RAY_AUTH_TOKEN_PATH names the cluster's token"
            return self._problem(f"it wants a token, and the right one; {wish}")
        if isinstance(error, ConnectionError) or kind in ("ConnectionError", "InvalidURL", "MissingSchema"):
            return self._problem("nothing answers there; is the tunnel up? ssh -N -L 8265:127.0.0.1:8265 HEAD")
        return self._problem(text[:400] or describe(error))

    def _problem(self, reason: str) -> UserError:
        return UserError(f"cluster.address={self._config.address}: {reason}")


def _job(details: Any) -> Job:
    words = (details.metadata or {}).get(WORDS)
    return Job(
        id=details.submission_id,
        status=str(getattr(details.status, "value", details.status)),
        message=" ".join((details.message or "").split()),
        words=json.loads(words) if words else [],
        started=details.start_time / 1000 if details.start_time else None,
        exit_code=details.driver_exit_code,
    )


def _show_token(path: str | None) -> None:
    """Have Ray's client show the token that there is. It reads its environment once, when it is imported."""
    if path is not None:
        if not Path(path).expanduser().is_file():
            raise UserError(f"cluster.auth_token_path={path}: no such file")
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(Path(path).expanduser())
        os.environ["RAY_AUTH_MODE"] = "token"
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named or Path("~/.ray/auth_token").expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
