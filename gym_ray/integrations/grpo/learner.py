"""The learner: a policy in plain torch that takes GRPO steps on samples, and can be put away and brought back.

Weights are kept in float32 and computed with in bfloat16, as the engine does. Invariants: a step with the same state,
samples and seed gives the same weights on the same machine; what :meth:`Learner.state` gives is all that a later
process needs to go on as if nothing had happened.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from gym_ray.integrations.grpo.batch import Batch, Sample, batches, parts
from gym_ray.integrations.grpo.objective import surrogate
from gym_ray.integrations.grpo.settings import LearnerConfig

if TYPE_CHECKING:
    from torch import Tensor

ADAM_BETAS = (0.9, 0.99)
PADDING = 0
"""Masked everywhere, so any id does."""


@dataclass(slots=True)
class Report:
    """What a step was like. ``samples``, ``tokens``: learnt from. ``updates``: of the optimizer.

    The rest are means over the updates: ``loss``; ``clipped``: share of tokens without gradient; ``drift``: KL
    divergence from the policy that sampled; ``gradient``: norm before clipping; ``entropy`` per sampled token.
    """

    samples: int = 0
    tokens: int = 0
    updates: int = 0
    loss: float = 0.0
    clipped: float = 0.0
    drift: float = 0.0
    gradient: float = 0.0
    entropy: float = 0.0

    def means(self) -> dict[str, float]:
        """All fields, sums turned into means."""
        fields = asdict(self)
        for name in ("loss", "clipped", "drift", "gradient", "entropy"):
            fields[name] /= max(1, self.updates)
        return fields


class Learner:
    """See the module. ``weights``: a folder that transformers reads. ``temperature``: what rollouts are sampled at."""

    def __init__(self, weights: str, config: LearnerConfig, temperature: float, seed: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        if config.threads is not None:
            torch.set_num_threads(config.threads)
        torch.manual_seed(seed)
        self._config, self._temperature, self._seed = config, temperature, seed
        self._model = AutoModelForCausalLM.from_pretrained(weights, dtype=torch.float32)
        self._optimizer = torch.optim.AdamW(
            self._model.parameters(), lr=config.rate, betas=ADAM_BETAS, weight_decay=0.0
        )
        self.steps = 0

    def tensors(self) -> dict[str, Tensor]:
        """The weights by the names of a checkpoint, as ``ModelControl.update_weights`` takes them."""
        tensors: dict[str, Tensor] = self._model.state_dict()
        return tensors

    def step(self, samples: Sequence[Sample]) -> Report:
        """One pass over ``samples``, in ``minibatches`` updates. Nothing to learn from is a step too."""
        report = Report()
        self.steps += 1
        for part in parts(samples, self._config.minibatches, random.Random(f"{self._seed}/{self.steps}")):
            self._update(part, report)
        return report

    def _update(self, samples: Sequence[Sample], report: Report) -> None:
        import torch

        tokens = sum(sample.sampled for sample in samples)
        for batch in batches(samples, self._config.rows_at_once, PADDING):
            self._backward(batch, tokens, report)
        for group in self._optimizer.param_groups:
            group["lr"] = self._config.rate * min(1.0, self.steps / max(1, self._config.warmup_steps))
        norm = torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.max_gradient)
        self._optimizer.step()
        self._optimizer.zero_grad()
        report.gradient += norm.item()
        report.updates += 1
        report.samples += len(samples)
        report.tokens += tokens

    def _backward(self, batch: Batch, tokens: int, report: Report) -> None:
        now, entropy = self._logprobs(batch)
        mask = batch.mask[:, 1:]
        made = surrogate(
            now,
            batch.logprobs[:, 1:][mask],
            batch.advantage.expand_as(mask)[mask],
            tokens,
            self._config.clip_low,
            self._config.clip_high,
        )
        made.loss.backward()
        report.loss += made.loss.item()
        report.clipped += made.clipped
        report.drift += made.drift
        report.entropy += entropy / tokens

    def _logprobs(self, batch: Batch) -> tuple[Tensor, float]:
        """Log-probability of every sampled token, float32 [sampled tokens], and their entropies' sum.

        The token at position t is predicted at t - 1. Only positions before a sampled token are projected onto the
        vocabulary, which is most of the memory.
        """
        import torch

        mask = batch.mask[:, 1:]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self._model.model(batch.ids).last_hidden_state[:, :-1][mask]
            logits = self._model.lm_head(hidden)
        every = torch.log_softmax(logits.float() / self._temperature, dim=-1)
        taken = every.gather(1, batch.ids[:, 1:][mask][:, None])[:, 0]
        with torch.no_grad():
            entropy = -(every.exp() * every).sum().item()
        return taken, entropy

    def state(self) -> dict[str, Any]:
        """Weights, optimizer, steps taken, and torch's random state."""
        import torch

        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "steps": self.steps,
            "rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        import torch

        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        torch.set_rng_state(state["rng"])
