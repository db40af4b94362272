"""Supervised learning: rows padded to batches, prompts that all rows share read once, Muon and AdamW.

Plain torch rather than a trainer class, for two things that none offers: Muon for the hidden matrices with AdamW for
the rest, and one pass over the tool definitions for all rows of a batch (they are most of a tool dialogue's tokens).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import DynamicCache, PreTrainedTokenizerFast, Qwen3ForCausalLM

from .copying import Example, drill
from .experts import ASSISTANT, Dialogue

END = "<|im_end|>"
PADDING = 0


@dataclass(frozen=True)
class Batch:
    """Rows that begin with the same ``prefix``, which is not learnt."""

    prefix: list[int]
    rows: list[Example]


def encode(dialogue: Dialogue, tokenizer: PreTrainedTokenizerFast) -> Example:
    """A dialogue's ids; only what the assistant says, its end marks included, is learnt, and slips are not."""
    ids: list[int] = []
    learnt: list[int] = []

    def add(text: str, counts: int) -> None:
        fresh = tokenizer.encode(text, add_special_tokens=False)
        ids.extend(fresh)
        learnt.extend([counts] * len(fresh))

    head, *turns = dialogue.text.split(ASSISTANT)
    add(head, 0)
    for number, turn in enumerate(turns):
        said, _, after = turn.partition(END)
        add(ASSISTANT, 0)
        add(said + END, int(number not in dialogue.slips))
        add(after, 0)
    return ids, learnt


def shared_prefix(examples: list[Example]) -> list[int]:
    """The ids that all examples begin with; none below 64, which are cheaper to read again."""
    first, last = (pick(ids for ids, _ in examples) for pick in (min, max))
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), 0)
    return first[:same] if same >= 64 else []


def endless_batches(examples: list[Example], rows: int, rng: random.Random) -> Iterator[Batch]:
    """Batches for ever: each pass over the examples in an order of its own, similar lengths together."""
    prefix = shared_prefix(examples)
    rest = [(ids[len(prefix) :], learnt[len(prefix) :]) for ids, learnt in examples]
    while True:
        rng.shuffle(rest)
        # Sorted within a window only, so that every batch still is a mixture.
        window = rows * 8
        batches = []
        for start in range(0, len(rest), window):
            part = sorted(rest[start : start + window], key=lambda example: len(example[0]))
            batches += [part[at : at + rows] for at in range(0, len(part), rows)]
        rng.shuffle(batches)
        yield from (Batch(prefix, batch) for batch in batches)


def endless_drills(tokens: list[int], marks: tuple[int, int], rows: int, rng: random.Random) -> Iterator[Batch]:
    """Fresh copying drills for ever."""
    while True:
        yield Batch([], [drill(rng, tokens, marks) for _ in range(rows)])


def losses(model: Qwen3ForCausalLM, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy of every learnt token, and whether it would have been the model's first choice.

    Padding is on the right, where causal attention never looks.
    """
    width = max(len(ids) for ids, _ in batch.rows)
    ids = torch.tensor([one + [PADDING] * (width - len(one)) for one, _ in batch.rows])
    learnt = torch.tensor([one + [0] * (width - len(one)) for _, one in batch.rows])[:, 1:] == 1
    with torch.autocast("cpu", torch.bfloat16):
        past = None
        if batch.prefix:
            past = DynamicCache()
            model.model(torch.tensor([batch.prefix]), past_key_values=past, use_cache=True)
            past.batch_repeat_interleave(len(batch.rows))
        hidden = model.model(ids, past_key_values=past, use_cache=past is not None).last_hidden_state
        logits = model.lm_head(hidden[:, :-1][learnt]).float()
    target = ids[:, 1:][learnt]
    return torch.nn.functional.cross_entropy(logits, target, reduction="none"), logits.argmax(-1) == target


def optimizers(model: Qwen3ForCausalLM, hidden: float, rest: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.dim() == 2]
    others = [weight for weight in model.parameters() if all(weight is not matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, lr=hidden, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=rest, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def learn(
    model: Qwen3ForCausalLM,
    streams: dict[str, Iterator[Batch]],
    steps: int,
    hidden: float = 0.02,
    rest: float = 3e-3,
    fall: float = 0.5,
) -> None:
    """``steps`` steps, each on one batch of every stream. The rate rises briefly, stays, and falls linearly to 0.

    Args:
        hidden: peak rate of Muon.
        rest: peak rate of AdamW.
        fall: share of the steps in which the rate falls.
    """
    every = optimizers(model, hidden, rest)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in every]
    began, spent, seen = time.monotonic(), time.process_time(), 0
    means: dict[str, tuple[float, float]] = {}
    for step in range(1, steps + 1):
        rate = min(1.0, step / 40, (steps + 1 - step) / max(1, fall * steps))
        for optimizer, peak in zip(every, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate
        for name, stream in streams.items():
            batch = next(stream)
            loss, right = losses(model, batch)
            (loss.mean() / len(streams)).backward()
            seen += sum(len(ids) for ids, _ in batch.rows) + len(batch.prefix)
            fresh = (loss.mean().item(), right.float().mean().item())
            means[name] = tuple(0.95 * a + 0.05 * b for a, b in zip(means.get(name, fresh), fresh, strict=True))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in every:
            optimizer.step()
            optimizer.zero_grad()
        if step % 50 == 0 or step == steps:
            took = time.monotonic() - began
            told = "  ".join(f"{name} {loss:.3f}/{right:.3f}" for name, (loss, right) in means.items())
            print(
                f"step {step}/{steps}  {told}  {seen / took:.0f} tokens/s  "
                f"{took:.0f} s (CPU {time.process_time() - spent:.0f} s), {took / step * (steps - step):.0f} s left",
                flush=True,
            )
