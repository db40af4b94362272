"""From journal to shards: whole, exact, the same whatever killed an earlier attempt."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from pyarrow import parquet as pq

from gym_ray.collect.config import RunConfig
from gym_ray.collect.journal.frames import FRAME_BYTES, Kind
from gym_ray.collect.journal.index import scan
from gym_ray.collect.journal.writer import JournalWriter
from gym_ray.collect.output import shards
from gym_ray.collect.output.finalize import Summary, finalize
from gym_ray.collect.output.shards import plan_shards
from gym_ray.collect.rundir import FAILURES, JOURNAL, MANIFEST, METRICS, ROLLOUTS, RunDir
from gym_ray.types.errors import UserError
from gym_ray.types.outcome import Outcome
from tests.support.mounts import needs_mount
from tests.support.rollouts import make_rollout, message_log, put

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Plan:
    """As much of a plan as finalising asks for."""

    rollouts: int


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir.create(str(tmp_path / "run"))


def config(run: RunDir, **collect: Any) -> RunConfig:
    return RunConfig(run_dir=run.address, envs={}, collect={"rows_per_shard": 50, **collect})


def outcome_of(task: int, index: int) -> Outcome:
    return (Outcome.SCORED, Outcome.SCORED, Outcome.MASKED, Outcome.FAILED)[(task + index) % 4]


def collect(run: RunDir, tasks: range, indexes: range, workers: int = 3) -> int:
    """Journal all these rollouts as several workers would: out of order, some twice."""
    journals = [JournalWriter(run, f"worker-{number}") for number in range(workers)]
    keys = [(task, index) for task in tasks for index in indexes]
    for number, (task, index) in enumerate(sorted(keys, key=lambda key: hash((key, 7)))):
        rollout = make_rollout(task, index, outcome_of(task, index))
        for copy in range(1 + (number % 10 == 0)):
            put(journals[(number + copy) % workers], rollout)
    for journal in journals:
        journal.close()
    return len(keys)


def lines(run: RunDir, folder: str) -> list[dict[str, Any]]:
    return [
        orjson.loads(line) for name in run.names(folder, ".jsonl") for line in run.read(f"{folder}/{name}").splitlines()
    ]


def fingerprints(run: RunDir) -> dict[str, str]:
    """SHA-256 of everything that readers see, but for the manifest's date."""
    paths = [f"{folder}/{name}" for folder in (ROLLOUTS, FAILURES) for name in run.names(folder)]
    return {path: hashlib.sha256(run.read(path)).hexdigest() for path in [*paths, METRICS]}


def check_whole(run: RunDir, summary: Summary) -> None:
    manifest = run.read_json(MANIFEST)
    assert manifest is not None
    assert manifest["files"] == summary.files
    for made in manifest["files"]:
        content = run.read(made["path"])
        assert len(content) == made["bytes"]
        assert hashlib.sha256(content).hexdigest() == made["sha256"]
    assert {made["path"] for made in manifest["files"]} == set(fingerprints(run)) - {METRICS}


def test_every_rollout_is_in_its_place_exactly_once(run: RunDir) -> None:
    count = collect(run, range(40), range(8))
    summary = finalize(run, config(run), Plan(count))
    check_whole(run, summary)
    expected = [(task, index) for task in range(40) for index in range(8)]
    usable = [key for key in expected if outcome_of(*key) is not Outcome.FAILED]
    rows = lines(run, ROLLOUTS)
    assert [(row["_ng_task_index"], row["_ng_rollout_index"]) for row in rows] == usable
    failures = lines(run, FAILURES)
    assert [(row["_ng_task_index"], row["_ng_rollout_index"]) for row in failures] == sorted(
        set(expected) - set(usable)
    )
    tables = [pq.read_table(run.path(f"{ROLLOUTS}/{name}")) for name in run.names(ROLLOUTS, ".parquet")]
    assert [(row["task_number"], row["rollout_index"]) for table in tables for row in table.to_pylist()] == usable
    assert all(len(message_log(row)) == 4 for row in rows)
    assert (summary.scored, summary.masked, summary.failed, summary.missing) == (160, 80, 80, 0)
    assert summary.duplicates == 32
    assert summary.failed_fraction == 0.25
    assert summary.report() == "320 planned = 160 scored + 80 masked + 80 failed"
    metrics = run.read_json(METRICS)
    assert metrics is not None
    assert metrics["rollouts"] == {"expected": 320, "scored": 160, "masked": 80, "failed": 80, "missing": 0}
    assert metrics["environments"]["adder"]["reward"]["mean"] == 1.0


def test_groups_are_never_split_and_shards_are_near_their_size(run: RunDir) -> None:
    collect(run, range(40), range(8))
    plans = list(plan_shards(scan(run), 50))
    assert [len(plan.where) for plan in plans] == [56] * 5 + [40]
    assert [plan.number for plan in plans] == list(range(6))
    assert [len(plan.where) for plan in plan_shards(scan(run), 1)] == [8] * 40


def test_heavy_shards_end_early(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    collect(run, range(10), range(2))
    monkeypatch.setattr(shards, "SHARD_BYTES", int(scan(run).done.where["length"].sum()) // 4)
    sizes = [len(plan.where) for plan in plan_shards(scan(run), 50)]
    assert sum(sizes) == 20
    assert 4 <= len(sizes) <= 6


def test_batches_do_not_change_what_is_written(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    count = collect(run, range(10), range(4))
    finalize(run, config(run), Plan(count))
    rows, failures = lines(run, ROLLOUTS), lines(run, FAILURES)
    run.remove(MANIFEST)
    monkeypatch.setattr(shards, "BATCH_BYTES", 1)
    finalize(run, config(run), Plan(count))
    assert (lines(run, ROLLOUTS), lines(run, FAILURES)) == (rows, failures)
    assert pq.ParquetFile(run.path(f"{ROLLOUTS}/part-00000.parquet")).num_row_groups > 20


def test_finalising_again_changes_nothing(run: RunDir) -> None:
    count = collect(run, range(10), range(4))
    summary = finalize(run, config(run), Plan(count))
    before, made = fingerprints(run), run.read(MANIFEST)
    assert finalize(run, config(run), Plan(count)) == summary
    assert run.read(MANIFEST) == made
    run.remove(f"{ROLLOUTS}/part-00000.jsonl")
    assert finalize(run, config(run), Plan(count)) == summary
    assert fingerprints(run) == before


def test_a_run_takes_on_more_rollouts_per_task(run: RunDir) -> None:
    first = collect(run, range(10), range(4))
    finalize(run, config(run), Plan(first))
    more = collect(run, range(10), range(4, 12))
    summary = finalize(run, config(run), Plan(first + more))
    check_whole(run, summary)
    assert summary.finished == 120
    keys = [(row["_ng_task_index"], row["_ng_rollout_index"]) for row in lines(run, ROLLOUTS) + lines(run, FAILURES)]
    assert sorted(keys) == [(task, index) for task in range(10) for index in range(12)]


def test_fewer_files_leave_none_of_the_old_ones(run: RunDir) -> None:
    count = collect(run, range(40), range(8))
    finalize(run, config(run), Plan(count))
    Path(run.path(f"{ROLLOUTS}/.part-00003.jsonl.abcd.tmp")).write_bytes(b"half")
    Path(run.path(f"{FAILURES}/bad_tasks.jsonl")).write_bytes(b"{}\n")
    finalize(run, config(run, formats=["parquet"], rows_per_shard=1000), Plan(count))
    assert run.names(ROLLOUTS) == ["part-00000.parquet"]
    assert run.names(FAILURES) == ["bad_tasks.jsonl", "part-00000.jsonl"]


def test_an_interrupted_run_has_what_is_there(run: RunDir) -> None:
    count = collect(run, range(10), range(4))
    journal = JournalWriter(run, "w")
    put(journal, make_rollout(99, 0), Kind.GENERATED)
    journal.close()
    summary = finalize(run, config(run), Plan(count + 5))
    assert summary.missing == 5
    assert "5 missing" in summary.report()
    manifest = run.read_json(MANIFEST)
    assert manifest is not None
    assert manifest["complete"] is False
    assert finalize(run, config(run), Plan(count + 5)) == summary


def test_nothing_at_all_is_a_run_too(run: RunDir) -> None:
    summary = finalize(run, config(run), Plan(3))
    assert (summary.finished, summary.missing, summary.files) == (0, 3, [])


def test_more_than_was_planned_is_an_error(run: RunDir) -> None:
    count = collect(run, range(3), range(2))
    with pytest.raises(UserError, match="holds 6 rollouts, its plan has 5"):
        finalize(run, config(run), Plan(count - 1))
    assert not run.exists(MANIFEST)


def test_a_damaged_record_is_named_with_the_mend(run: RunDir) -> None:
    count = collect(run, range(3), range(2), workers=1)
    (name,) = run.names(JOURNAL, ".seg")
    path = Path(run.path(f"{JOURNAL}/{name}"))
    content = bytearray(path.read_bytes())
    content[8 + FRAME_BYTES + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="remove that file") as raised:
        finalize(run, config(run), Plan(count))
    assert "\n" not in str(raised.value)
    assert name in str(raised.value)


def test_other_filesystems_work_the_same(run: RunDir) -> None:
    run.local = False
    count = collect(run, range(10), range(4))
    summary = finalize(run, config(run), Plan(count))
    check_whole(run, summary)
    assert summary.finished == 40


FINALIZE = """
import sys
from gym_ray.collect.config import RunConfig
from gym_ray.collect.output.finalize import finalize
from gym_ray.collect.rundir import RunDir
from gym_ray.types.errors import UserError

class Plan:
    rollouts = int(sys.argv[2])

run = RunDir(sys.argv[1])
config = RunConfig(run_dir=run.address, envs={}, collect={"rows_per_shard": 20})
print("begin", flush=True)
try:
    finalize(run, config, Plan())
except UserError as error:
    print(error)
print("end", flush=True)
"""


def test_killed_at_any_moment_and_done_again_gives_the_same(run: RunDir, tmp_path: Path) -> None:
    count = collect(run, range(150), range(8))
    reference = RunDir(shutil.copytree(run.address, tmp_path / "reference").as_posix())
    small = config(run, rows_per_shard=20)
    began = time.perf_counter()
    finalize(reference, small, Plan(count))
    whole_s = time.perf_counter() - began
    done = 0
    for attempt in range(4):
        run.remove(MANIFEST)
        command = [sys.executable, "-c", FINALIZE, run.address, str(count)]
        victim = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "begin\n"
        time.sleep(whole_s * attempt / 3)
        victim.kill()
        victim.wait(10)
        done += run.exists(MANIFEST)
        if run.exists(MANIFEST):
            assert fingerprints(run) == fingerprints(reference)
    assert done < 4
    check_whole(run, finalize(run, small, Plan(count)))
    assert fingerprints(run) == fingerprints(reference)


@needs_mount
def test_a_full_disk_is_one_line_and_leaves_no_manifest(run: RunDir, tmp_path: Path) -> None:
    count = collect(run, range(100), range(8))
    size = sum(Path(run.path(f"{JOURNAL}/{name}")).stat().st_size for name in run.names(JOURNAL, ".seg"))
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = (
        f"mount -t tmpfs -o size={size + 600_000} none {disk} && cp -r {run.address} {disk}/run && "
        f'"$@" && ls {disk}/run {disk}/run/rollouts -A'
    )
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", FINALIZE, f"{disk}/run", str(count)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    assert said[1].startswith(f"cannot write {disk}/run/")
    assert said[1].endswith("No space left on device (ENOSPC)")
    assert said[2] == "end"
    assert MANIFEST not in said
    assert not [line for line in said if line.endswith(".tmp")]


@pytest.mark.ray
def test_a_ray_data_job_gives_the_same(run: RunDir, tmp_path: Path, ray_cluster: dict[str, Any]) -> None:
    count = collect(run, range(40), range(8))
    alone = tmp_path / "alone"
    shutil.copytree(run.address, alone)
    check_whole(run, finalize(run, config(run, num_agents=2), Plan(count)))
    command = [
        sys.executable,
        "-c",
        FINALIZE.replace('"rows_per_shard": 20', '"rows_per_shard": 50'),
        str(alone),
        str(count),
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, timeout=60)
    assert fingerprints(run) == fingerprints(RunDir(str(alone)))


@pytest.mark.ray
def test_an_error_in_the_job_is_still_one_line(run: RunDir, ray_cluster: dict[str, Any]) -> None:
    count = collect(run, range(40), range(8))
    shutil.rmtree(run.path(ROLLOUTS))
    Path(run.path(ROLLOUTS)).write_bytes(b"in the way")
    with pytest.raises(UserError, match="cannot write") as raised:
        finalize(run, config(run), Plan(count))
    assert "\n" not in str(raised.value)


def test_the_manifest_says_who_may_run_without_isolation(run: RunDir) -> None:
    collect(run, range(2), range(1))
    envs = {
        "code": {"server": "m:C", "options": {"sandbox": {"allow_unsafe": True}}},
        "walled": {"server": "m:C", "options": {"sandbox": {}}},
        "plain": {"server": "m:C"},
    }
    finalize(run, config(run).model_validate({**config(run).model_dump(), "envs": envs}), Plan(2))
    manifest = run.read_json(MANIFEST)
    assert manifest is not None
    assert manifest["allow_unsafe"] == ["code"]
