"""``gym-ray VERB ...``: finds the verb's module and turns what it raises into an exit code.

Exit codes: 0 done, 1 failed, 2 usage (the message says what to mend), 3 finished with more failed rollouts
than ``collect.max_failed_fraction``, 130 interrupted (the same command goes on).

Invariant: importing this module loads nothing beyond ``import gym_ray`` and the standard library, so that
``--help`` is instant. Each verb is a module with ``run(words) -> exit code`` and ``help_text() -> str``.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

VERBS = {
    "collect": "roll out tasks, keep the scored trajectories in a run directory",
    "rl": "a model learns from its own rollouts: collect, GRPO step, new weights, again",
    "serve": "serve a model at an OpenAI-compatible address until Ctrl-C",
    "env list": "environments by name",
    "env show": "one environment: its task fields, tools, options and reward",
    "env new": "write a new environment that works, to start from",
    "env test": "check an environment: examples, golden trajectories, contract",
    "tasks validate": "check task files without rolling anything out",
    "tasks render": "make tasks with an environment's generator, or apply a prompt template",
    "tasks prepare": "a recipe's published data, made into task files",
    "recipe list": "recipes: whole runs by stage and size",
    "recipe show": "a recipe's plan: GPUs, memory, what is in flight, where each value comes from",
    "recipe run": "a recipe as one collection; --dry-run checks everything that needs no GPU",
    "submit": "any command as a job of a Ray cluster; watch, stop and resume it",
    "cluster render": "launch files for KubeRay, Slurm or the Ray launcher",
    "profile": "what a run's data is worth: rewards, pass@k, difficulty, suspicious successes",
    "reverify": "a run's trajectories, judged anew by changed verifiers",
    "compare": "two runs on their common tasks: paired differences, flips",
    "report": "a run as one self-contained HTML page: charts, failures, trajectories",
    "view": "the same page, served live, for a run of any size or in progress",
    "runs list": "runs in a directory",
    "runs show": "one run: outcomes, rewards, failures by kind",
    "runs recover": "what a dead run left, made into shards",
    "export": "a run's rollouts in a trainer's format: NeMo-RL, TRL, VeRL, token arrays",
}
DONE, FAILED, USAGE, TOO_MANY_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if words is None else words)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return DONE if words else USAGE
    if words[0] == "--version":
        from gym_ray import __version__

        print(f"gym-ray {__version__}")
        return DONE
    size = 2 if " ".join(words[:2]) in VERBS else 1
    verb, rest = " ".join(words[:size]), words[size:]
    if verb not in VERBS:
        return _unknown(" ".join(words[:2]))
    module = importlib.import_module(f"gym_ray.cli.{verb.replace(' ', '_')}")
    if any(word in ("-h", "--help") for word in rest):
        return _print(module.help_text())
    return _guarded(module.run, rest)


def overview() -> str:
    """What ``gym-ray --help`` prints."""
    width = max(map(len, VERBS))
    return "\n".join(
        [
            "usage: gym-ray VERB [group=choice] [key=value]...",
            "",
            *(f"  {verb.ljust(width)}   {line}" for verb, line in VERBS.items()),
            "",
            "first steps:",
            "  gym-ray collect env=mcqa collect.rollouts_per_task=4        the embedded model, no GPU, no key",
            "  gym-ray collect --help                                      more examples, and every key",
        ]
    )


def _unknown(given: str) -> int:
    first = given.split()[0]
    family = [verb for verb in VERBS if verb.startswith(f"{first} ")]
    if family and given.endswith(("--help", "-h")):
        width = max(map(len, family))
        print("\n".join(f"gym-ray {verb.ljust(width)}   {VERBS[verb]}" for verb in family))
        return DONE
    if family:
        hint = f"one of: {', '.join(family)}"
    else:
        near = difflib.get_close_matches(given, VERBS, 1) or difflib.get_close_matches(first, VERBS, 1)
        hint = f"nearest: {near[0]}" if near else f"there are: {', '.join(VERBS)}"
    print(f"gym-ray: no verb `{given if family else first}`; {hint}", file=sys.stderr)
    return USAGE


def _guarded(run: object, words: list[str]) -> int:
    from gym_ray.types.errors import UserError

    assert callable(run)
    try:
        code: int = run(words)
    except UserError as error:
        print(f"gym-ray: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("gym-ray: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except Exception:
        import traceback

        traceback.print_exc()
        return FAILED
    return code


def _print(text: str) -> int:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        return _reader_left()
    return DONE


def _reader_left() -> int:
    """``gym-ray ... | head`` closed our output: no error, and nothing left to flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


if __name__ == "__main__":
    sys.exit(main())
