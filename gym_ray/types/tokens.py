"""Token bookkeeping: what the engine really saw and sampled, turn by turn.

Invariant: a :class:`Segment` is exactly contiguous. The prompt of each further turn in it begins with all
ids already there; only the new suffix is appended (loss mask 0), then the sampled ids (loss mask 1). When
a prompt does not begin so (the template rewrote history, the context was compacted), a new segment
starts. Nothing is ever retokenized.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class TurnTokens:
    """Exact tokens of one model call, as the engine reports them.

    ``prompt``: int32 ids of the whole prompt. ``sampled``: int32 ids sampled, the stop token included.
    ``logprobs``: float32 natural-log probability of each sampled id (same length) under the sampling
    distribution's logits. ``version``: policy version that sampled them, one int, or one per sampled id.
    """

    prompt: list[int]
    sampled: list[int]
    logprobs: list[float]
    version: int | list[int] = 0


@dataclass(slots=True)
class Segment:
    """One contiguous training sequence. All lists have the same length, one entry per token.

    ``logprobs`` is 0.0 and ``versions`` is -1 where ``loss_mask`` is 0. ``spans`` has, per turn,
    ``(prompt_end, sampled_end)``: offsets into the lists, so that each turn's triplet can be cut out again.
    """

    token_ids: list[int] = field(default_factory=list)
    loss_mask: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def accepts(self, prompt: list[int]) -> bool:
        """True when ``prompt`` begins with every id of this segment."""
        return prompt[: len(self.token_ids)] == self.token_ids

    def append(self, turn: TurnTokens) -> None:
        """Add one turn. The caller has checked :meth:`accepts`."""
        suffix = turn.prompt[len(self.token_ids) :]
        fresh, sampled = len(suffix), len(turn.sampled)
        self.token_ids += suffix
        prompt_end = len(self.token_ids)
        self.token_ids += turn.sampled
        self.loss_mask += [0] * fresh + [1] * sampled
        self.logprobs += [0.0] * fresh + turn.logprobs
        versions = turn.version if isinstance(turn.version, list) else [turn.version] * sampled
        self.versions += [-1] * fresh + versions
        self.spans.append((prompt_end, prompt_end + sampled))


def segments_of(turns: list[TurnTokens]) -> list[Segment]:
    """Fold turns into contiguous segments, starting a new one wherever history was rewritten."""
    segments: list[Segment] = []
    for turn in turns:
        if not segments or not segments[-1].accepts(turn.prompt):
            segments.append(Segment())
        segments[-1].append(turn)
    return segments
