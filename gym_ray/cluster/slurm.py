"""A batch script for Slurm: Ray on every node of the job, the command on the first.

Some minutes before the time limit the command gets SIGTERM: it begins nothing new, lets land what is in the air, and
writes its shards; then the job puts itself back into the queue and its next turn goes on. Where Slurm kills without
warning (``scancel``, a preemption without grace), nothing finished is lost either: the journal has it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from gym_ray.cluster.config import ClusterConfig, SlurmConfig

ENTRY = "python -m gym_ray.cluster.job"

SCRIPT = r"""#!/bin/bash
@HEADER@
#
# @NAME@: made by `gym-ray cluster render`. Submit it again after any end: it goes on where it was.
#   scancel --batch --signal=TERM JOB     end it: what is in the air lands, shards are written
#   scancel JOB                           end it now: what is in the air is made again by the next one
set -uo pipefail
# Ray's processes are all of one task, which some clusters would bind to one core.
export SLURM_CPU_BIND=none RAY_USAGE_STATS_ENABLED=0@EXPORTS@
@SETUP@
# Ray wants a token from everybody. Its file lies in the home directory, which the nodes share.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
[ -s "$RAY_AUTH_TOKEN_PATH" ] || (
  umask 077
  mkdir -p "$(dirname "$RAY_AUTH_TOKEN_PATH")"
  head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH"
)
# This script runs on the first node, which is the head. HEAD_IP says which of its addresses the others shall use.
ip=${HEAD_IP:-$(hostname -I | awk '{print $1}')}
address=${ip:-127.0.0.1}:@PORT@
pid_file=${TMPDIR:-/tmp}/gym-ray-$SLURM_JOB_ID.pid
options="--num-cpus=${SLURM_CPUS_ON_NODE:-$(nproc)} --disable-usage-stats"
command='echo $$ >'$pid_file'; export RAY_ADDRESS='$address'; exec @COMMAND@'

drained=
drain() {
  drained=$1
  echo "gym-ray: $1; nothing new is begun, what is in the air may land"
  [ -s "$pid_file" ] && kill -TERM "$(cat "$pid_file")"
}
trap 'drain "the time limit is near"' USR1
trap 'drain "asked to end"' TERM

@CLEAN@on_head() { srun @STEP@ --overlap --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" @WRAP@"$@"; }
if on_head ray symmetric-run --help >/dev/null 2>&1; then
  srun @STEP@ --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 @WRAP@ray symmetric-run --address "$address" \
    --min-nodes "$SLURM_JOB_NUM_NODES" $options -- bash -c "$command" &
else # Ray before 2.49
  start="ray start --block $options"
  on_head $start --head --node-ip-address="${address%:*}" --port=@PORT@ &
  until on_head ray health-check --address "$address" >/dev/null 2>&1; do sleep 2; done
  [ "$SLURM_JOB_NUM_NODES" = 1 ] || srun @STEP@ --overlap --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks-per-node=1 \
    --exclude="$SLURMD_NODENAME" @WRAP@$start --address="$address" &
  on_head bash -c "$command" &
fi
work=$!
code=0
while :; do # a signal ends `wait`, not the work
  wait "$work"
  code=$?
  kill -0 "$work" 2>/dev/null || break
done
rm -f "$pid_file"
echo "gym-ray: ended with exit code $code"
if [ "$drained" = "the time limit is near" ] && [ "$code" != 0 ] && [ "${SLURM_RESTART_COUNT:-0}" -lt @RESUMES@ ]; then
  echo "gym-ray: back into the queue"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
"""


CLEAN = r"""# A job that was killed may have left its Ray behind; these nodes are ours alone.
srun @STEP@ --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 @WRAP@ray stop --force >/dev/null 2>&1
"""


def script(config: ClusterConfig, words: Sequence[str]) -> str:
    """The script's text; ``words`` are the command's."""
    slurm = config.slurm
    step, wrap = _container(slurm)
    exports = "".join(f" {name}={shlex.quote(value)}" for name, value in config.env.items())
    parts = {
        "CLEAN": CLEAN if slurm.exclusive else "",
        "HEADER": "\n".join(_header(config)),
        "NAME": config.name,
        "EXPORTS": exports,
        "SETUP": "\n".join(slurm.setup),
        "PORT": str(slurm.port),
        # Inside single quotes of the script.
        "COMMAND": f"{ENTRY} {shlex.join(words)}".replace("'", "'\\''"),
        "STEP": step,
        "WRAP": wrap,
        "RESUMES": str(slurm.resumes),
    }
    text = SCRIPT
    for name, value in parts.items():
        text = text.replace(f"@{name}@", value)
    return text.replace("srun  --", "srun --")


def _header(config: ClusterConfig) -> list[str]:
    slurm = config.slurm
    options: dict[str, str | None] = {
        "job-name": config.name,
        "nodes": str(slurm.nodes),
        "time": slurm.time,
        "signal": f"B:USR1@{slurm.drain_s}",
        "open-mode": "append",
        "output": "%x-%j.log",
        "partition": slurm.partition,
        "account": slurm.account,
        "qos": slurm.qos,
        "gpus-per-node": str(slurm.gpus_per_node) if slurm.gpus_per_node else None,
        "mem": "0" if slurm.exclusive else None,  # All of a whole node's; many clusters give less unless asked.
        **slurm.extra,
    }
    flags = ["requeue", *(["exclusive"] if slurm.exclusive else [])]
    lines = [f"--{name}={value}" for name, value in options.items() if value is not None]
    return [f"#SBATCH {line}" for line in [*lines, *(f"--{flag}" for flag in flags)]]


def _container(slurm: SlurmConfig) -> tuple[str, str]:
    """Options of ``srun``, and what stands before each command."""
    if slurm.container is None:
        return "", ""
    image = shlex.quote(slurm.container)
    if slurm.container_runtime == "enroot":
        # The script reads the command's process id from a file in /tmp.
        mounts = shlex.quote(",".join(["/tmp:/tmp", *slurm.mounts]))
        return f"--container-image={image} --container-mounts={mounts} --container-name=gym-ray", ""
    mounts = "".join(f" --bind {shlex.quote(mount)}" for mount in slurm.mounts)
    gpus = " --nv" if slurm.gpus_per_node else ""
    return "", f"apptainer exec{gpus}{mounts} {image} "
