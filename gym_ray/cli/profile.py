"""``gym-ray profile``: what a run's data is worth."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import orjson
from rich.table import Table

from gym_ray.cli.main import DONE
from gym_ray.cli.runs_show import run_address
from gym_ray.cli.tables import cell, interval, kinds_table, new_table, output, printable
from gym_ray.runs.profile import DIFFICULTY, THRESHOLD, Thresholds, profile_run
from gym_ray.runs.read import check_environments
from gym_ray.types.errors import UserError

HELP = """\
usage: gym-ray profile RUN [--threshold [ENV=]REWARD]... [--k K,K,...] [--json FILE] [--tasks FILE]

  gym-ray profile runs/demo
  gym-ray profile runs/demo --threshold 0.5                  a reward of 0.5 or more is a success
  gym-ray profile runs/demo --threshold math=1 --threshold calendar=0.8
  gym-ray profile runs/demo --k 1,8 --json profile.json      all numbers, as JSON
  gym-ray profile runs/demo --tasks tasks.jsonl              one line per task, as NeMo Gym's reward profiles

Per environment: reward and success with 95 % intervals over tasks, pass@k (one of k succeeds), pass^k (all k do) and
majority@k (the answer that most give), tasks by pass rate, lengths, turns, tool errors, truncation, duplicates, and
what looks like a fooled verifier. Masked, failed and missing rollouts stand beside and are in no mean. Without
--threshold a success is a reward of 1 or more. A run in progress is profiled as far as it has shards.
What each number is: docs/profile.md. Exit codes: 0 done, 2 no such run, or nothing in it yet.
"""


def help_text() -> str:
    """Usage."""
    return HELP


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line like everybody's."""

    def error(self, message: str) -> Any:
        """Raises UserError."""
        raise UserError(f"{self.prog}: {message} (gym-ray {self.prog} --help)")


def run(words: Sequence[str]) -> int:
    """See the module."""
    parser = Parser("profile", add_help=False, allow_abbrev=False)
    parser.add_argument("run")
    parser.add_argument("--threshold", action="append", default=[])
    parser.add_argument("--k", default="")
    parser.add_argument("--json")
    parser.add_argument("--tasks")
    given = parser.parse_args(list(words))
    address, ks = run_address(given.run), _parse_ks(given.k)
    thresholds = parse_thresholds(given.threshold, address)
    with _lines(given.tasks) as each:
        profile = profile_run(address, thresholds, ks, each)
    if given.json:
        write_json(given.json, profile)
    _print(profile)
    return DONE


def parse_thresholds(words: Sequence[str], *addresses: str) -> Thresholds:
    """``0.5`` for all environments, ``math=0.5`` for one that a run at ``addresses`` has. Raises UserError."""
    default, named = THRESHOLD, dict[str, float]()
    for word in words:
        name, _, value = word.rpartition("=")
        try:
            number = float(value)
        except ValueError:
            raise UserError(f"--threshold {word}: REWARD or ENV=REWARD, with a number") from None
        if name:
            named[name] = number
        else:
            default = number
    if named:
        check_environments(named, "--threshold", *addresses)
    return Thresholds(default, named)


def _parse_ks(text: str) -> list[int]:
    words = [word for word in text.split(",") if word]
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        raise UserError(f"--k {text}: whole numbers from 1 on, commas between")
    return [int(word) for word in words]


def write_json(path: str, value: Mapping[str, Any]) -> None:
    """Raises UserError when the file cannot be written."""
    try:
        Path(path).write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def _lines(path: str | None) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """What writes one JSON line per call to ``path``; None without one."""
    if path is None:
        yield None
        return
    try:
        sink: IO[bytes] = Path(path).open("wb")  # noqa: SIM115 - the errors of writing are not those of opening
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    with sink:

        def write(row: dict[str, Any]) -> None:
            sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))

        yield write


def _print(profile: Mapping[str, Any]) -> None:
    console, environments = output(), profile["environments"]
    counts = profile["rollouts"]
    line = f"{profile['run']}: {profile['state']}, {counts['found']:,} of {counts['expected']:,} rollouts"
    console.print(line, soft_wrap=True, markup=False)
    for note in profile["notes"]:
        console.print(printable(note), style="yellow", soft_wrap=True, markup=False)
    for table in (_rewards(environments), _skill(environments), _difficulty(environments), _shape(environments)):
        console.print()
        console.print(table)
    if (kinds := kinds_table(environments)) is not None:
        console.print()
        console.print(kinds)
    for line in _suspected(environments):
        console.print(line, style="yellow", soft_wrap=True, markup=False)


def _rewards(environments: Mapping[str, Any]) -> Table:
    numbers = ("tasks", "scored", "masked", "failed", "missing", "reward [95 %]", "success", "success [95 %]")
    table = new_table(("environment",), numbers)
    for name, its in environments.items():
        counts = (its[key] for key in ("tasks", "scored", "masked", "failed", "missing"))
        shown = ("-" if count is None else f"{count:,}" for count in counts)
        table.add_row(cell(name), *shown, interval(its["reward"]), f">= {its['threshold']:g}", interval(its["success"]))
        for part, estimate in its["components"].items():
            table.add_row(cell(f"  {part}"), *[""] * 5, interval(estimate), "", "")
    return table


def _skill(environments: Mapping[str, Any]) -> Table:
    table = new_table(("environment",), ("k", "pass@k", "pass^k", "majority@k", "no answer", "tasks with fewer"))
    for name, its in environments.items():
        for at in its["k"]:
            means = (interval(at[key]) for key in ("pass_at", "pass_all", "majority"))
            unanswered = "-" if at["no_answer"] is None else f"{at['no_answer']['mean']:.1%}"
            table.add_row(cell(name), str(at["k"]), *means, unanswered, f"{at['short_tasks']:,}")
    return table


def _difficulty(environments: Mapping[str, Any]) -> Table:
    table = new_table(("environment, tasks by pass rate",), (*DIFFICULTY, "no spread", "unscored"))
    for name, its in environments.items():
        counts = [*its["difficulty"].values(), its["tasks_without_spread"], its["unscored_tasks"]]
        table.add_row(cell(name), *(f"{count:,}" if count else "." for count in counts))
    return table


def _shape(environments: Mapping[str, Any]) -> Table:
    numbers = ("tokens", "p95", "turns", "calls", "call errors", "truncated", "duplicates", "reward~length", "in tasks")
    table = new_table(("environment",), numbers)
    for name, its in environments.items():
        tokens, correlation = its["sampled_tokens"], its["reward_length_correlation"]
        table.add_row(
            cell(name),
            f"{tokens['mean']:,.0f}",
            f"{tokens['p95']:,.0f}",
            f"{its['turns']['mean']:.1f}",
            f"{its['tool_calls']['mean']:.1f}",
            _percent(its["tool_error_rate"]),
            _percent(its["truncated"]),
            f"{its['duplicates']:,}",
            *("-" if correlation[of] is None else f"{correlation[of]:+.2f}" for of in ("overall", "within_tasks")),
        )
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _suspected(environments: Mapping[str, Any]) -> Iterator[str]:
    for name, its in environments.items():
        found = its["suspected"]
        if found["empty_successes"]:
            yield f"\n{name}: {found['empty_successes']:,} rollouts succeeded without saying or calling anything"
        for one in found["repeated"]:
            answers = "that expect different answers" if one["expected"] == "different" else "(no expected answers)"
            yield f"\n{name}: one output solves {one['tasks']:,} tasks {answers}: {printable(one['output'])}"
