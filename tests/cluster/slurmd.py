"""A Slurm of one node on loopback: munge, slurmctld and slurmd as Debian ships them, everything below one folder."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.txt
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES State=UP
"""
DAEMONS = ("munged", "slurmctld", "slurmd")


class Slurm:
    """Its commands. ``env``: what they and the jobs need to find it."""

    def __init__(self, config: Path, env: dict[str, str]) -> None:
        self.env = {**env, "SLURM_CONF": str(config)}

    def run(self, *command: str, cwd: Path | None = None, shown: bool = True) -> str:
        """Standard output of a command that must succeed. ``shown``: it is part of the test's transcript."""
        done = subprocess.run(command, env=self.env, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        if shown:
            print(f"$ {shlex.join(command)}\n{done.stdout.rstrip()}")
        return done.stdout

    def submit(self, script: Path, cwd: Path) -> str:
        """The job's id."""
        return self.run("sbatch", "--parsable", str(script), cwd=cwd).strip()

    def state(self, job: str) -> str:
        """``PENDING``, ``RUNNING``, ...; empty once Slurm has forgotten it."""
        told = self.run("scontrol", "show", "job", job, shown=False)
        return next((word.partition("=")[2] for word in told.split() if word.startswith("JobState=")), "")

    def history(self) -> None:
        """Show how every job ended, as Slurm wrote it down."""
        self.run("sacct", "--completion", "--format=jobid,jobname,partition,state,exitcode")


@contextmanager
def slurm_up(folder: Path, env: dict[str, str]) -> Iterator[Slurm]:
    """Up while the block runs. Skips the test where the daemons are not installed or may not run."""
    if "GYM_RAY_OWN_PIDS" not in os.environ:
        pytest.skip("`ray stop` would end every Ray of this user: scripts/test_slurm gives it processes of its own")
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs {', '.join(missing) or 'root'} (Debian: apt install slurm-wlm munge)")
    for part in ("state", "spool"):
        (folder / part).mkdir()
    key, config = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(os.urandom(64))
    key.chmod(0o600)
    folder.chmod(0o755)
    config.write_text(CONFIG.format(host=socket.gethostname().partition(".")[0], folder=folder))
    slurm = Slurm(config, env)
    places = [
        f"--{name}={folder}/munge.{name.partition('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
    ]
    with ExitStack() as stack:
        stack.enter_context(
            _daemon(["munged", "--foreground", "--force", f"--key-file={key}", *places], slurm.env, folder)
        )
        _wait(lambda: (folder / "munge.socket").exists(), "munge's socket")
        stack.enter_context(_daemon(["slurmctld", "-D", "-c"], slurm.env, folder))
        stack.enter_context(_daemon(["slurmd", "-D", "-c"], slurm.env, folder))
        _wait(lambda: "idle" in _sinfo(slurm), "an idle node")
        yield slurm


def _sinfo(slurm: Slurm) -> str:
    done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=slurm.env, capture_output=True, text=True, check=False)
    return done.stdout


@contextmanager
def _daemon(command: list[str], env: dict[str, str], folder: Path) -> Iterator[None]:
    with (folder / f"{command[0]}.out").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(check: object, what: str, timeout_s: float = 30) -> None:
    assert callable(check)
    due = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < due, f"no {what} within {timeout_s:g} s"
        time.sleep(0.1)
