"""Train the embedded policy ``tiny`` from nothing: tokenizer, chat template, weights.

    python scripts/train_tiny.py [--out DIR] [--threads N]      # train, then measure
    python scripts/train_tiny.py --measure 128 [--out DIR]      # only measure what is in DIR

A Qwen3-architecture model small enough to travel with the package. It learns in two parts: first to copy
(random tokens, see ``tiny_training/copying.py``), then to imitate scripted experts that solve generated easy tasks
of four environments with their thoughts spelled out (``tiny_training/experts.py``). The same arguments give the
same data in the same order. Tasks of the held-out seed are never taught; they are what is measured at the end:
mean reward and pass@8, sampled at temperature 1 with transformers.

What the numbers in a progress line mean: after each kind of data, the loss and the share of tokens that would have
been the first choice; then the rate, the time taken so far and the time left.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from pathlib import Path

import torch
from tiny_training import learning
from tiny_training.experts import HELD_OUT, SEED, courses, dialogues
from tiny_training.policy import MARKS, SPECIAL, build_model, build_tokenizer, save
from tiny_training.trial import measure
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

WEIGHTS = Path(__file__).parent.parent / "gym_ray" / "models" / "tiny" / "weights"
ROWS = 8_000
"""Different dialogues per environment."""
ROWS_PER_STEP = {"mcqa": 8, "math": 12, "structured_outputs": 6, "workplace": 4}
DRILLS_FIRST, DRILLS_ALONG = 24, 3
"""Copying drills per step: while there is nothing else, and beside the dialogues."""
ROLLOUTS = 8


def train(out: Path, drill_steps: int, steps: int, vocabulary: int) -> None:
    """Make the data, learn, save."""
    taught = {course.name: asyncio.run(dialogues(course, ROWS)) for course in courses()}
    tokenizer = build_tokenizer([one.text for some in taught.values() for one in some], vocabulary)
    model = build_model(tokenizer)
    examples = {name: [learning.encode(one, tokenizer) for one in some] for name, some in taught.items()}
    for name, some in examples.items():
        length, said = (sum(map(count, some)) / len(some) for count in (lambda e: len(e[0]), lambda e: sum(e[1])))
        print(f"{name}: {len(some)} dialogues of {length:.0f} tokens, {said:.0f} of them learnt", flush=True)
    print(f"{len(tokenizer)} tokens in the vocabulary, {model.num_parameters()} parameters", flush=True)
    rng = random.Random(SEED)
    words = _words(examples, tokenizer)
    marks = tuple(tokenizer.encode(text, add_special_tokens=False)[0] for text in (": ", ". "))
    learning.learn(model, {"copying": learning.endless_drills(words, marks, DRILLS_FIRST, rng)}, drill_steps)
    streams = {name: learning.endless_batches(some, ROWS_PER_STEP[name], rng) for name, some in examples.items()}
    streams["copying"] = learning.endless_drills(words, marks, DRILLS_ALONG, rng)
    learning.learn(model, streams, steps)
    save(model, tokenizer, out)


def _words(examples: dict[str, list[learning.Example]], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Tokens that occur, the dialogue's own marks aside."""
    occurring = {token for some in examples.values() for ids, _ in some for token in ids}
    return sorted(occurring - set(tokenizer.convert_tokens_to_ids(SPECIAL + MARKS)))


def report(folder: Path, tasks: int) -> None:
    """Measure the policy in ``folder`` on held-out tasks and print a table."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    print(f"{'environment':<20}{'tasks':>6}{'mean reward':>13}{'pass@1':>8}{f'pass@{ROLLOUTS}':>8}")
    for course in courses():
        score = asyncio.run(measure(model, tokenizer, course, tasks, ROLLOUTS))
        print(
            f"{course.name:<20}{score.tasks:>6}{score.mean:>13.2f}{score.mean:>8.2f}{score.pass_at_all:>8.2f}",
            flush=True,
        )


def main() -> None:
    """Train and measure, or only measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the weights (default: the package's)")
    parser.add_argument("--drill-steps", type=int, default=300, help="steps of copying alone (%(default)s)")
    parser.add_argument("--steps", type=int, default=2_000, help="steps on dialogues; 0: random weights (%(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="torch threads; more help only on an idle machine (%(default)s)"
    )
    parser.add_argument("--vocabulary", type=int, default=1_400, help="most words and pieces to keep (%(default)s)")
    parser.add_argument("--measure", type=int, metavar="TASKS", help=f"do not train; measure on up to {HELD_OUT} tasks")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    if arguments.measure is None:
        train(arguments.out, arguments.drill_steps, arguments.steps, arguments.vocabulary)
    report(arguments.out, arguments.measure or 32)


if __name__ == "__main__":
    main()
