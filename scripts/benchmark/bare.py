"""The engine by itself: vLLM's AsyncLLM with the deployment's settings, and nothing around it.

A process that loads once and then replays what a collection did, as often as it is told: one JSON object per
line on stdin (``{"work": FILE, "in_flight": N}``), one per line on stdout. The file holds, per rollout, its
turns as ``[kept, ids, count]``: keep ``kept`` ids of the conversation so far, add ``ids``, sample ``count``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import yaml

from gym_ray.models.serve.vllm_engine import CPU_DEFAULTS, ENGINE_DEFAULTS

ROOT = Path(__file__).parents[2]
TINY = ROOT / "conf" / "model" / "tiny.yaml"
STRONG = 100.0
"""Bias of the end token: with ``min_tokens`` before it, a turn has exactly the length it should."""


class Bare:
    """The engine. Sampling is what the collection asks for."""

    def __init__(self) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        settings = yaml.safe_load(TINY.read_text())["serve"]["engine_args"]
        weights = str(ROOT / "gym_ray" / "models" / "tiny" / "weights")
        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**(ENGINE_DEFAULTS | CPU_DEFAULTS | settings), model=weights)
        )
        self._end = self._llm.get_tokenizer().eos_token_id
        self._number = 0

    async def replay(self, work: list[Any], in_flight: int) -> dict[str, float]:
        """All rollouts, ``in_flight`` at once, in order."""
        await self._llm.reset_prefix_cache()
        todo, totals = iter(work), {"sampled": 0, "prompt": 0, "cached": 0}

        async def lane() -> None:
            for turns in todo:
                await self._rollout(turns, totals)

        began = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(in_flight)))
        return {"seconds": time.perf_counter() - began, **totals}

    async def _rollout(self, turns: list[Any], totals: dict[str, int]) -> None:
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        ids: list[int] = []
        for kept, new, count in turns:
            ids = ids[:kept] + new
            self._number += 1
            params = SamplingParams(
                **{"temperature": 1.0, "top_p": 1.0, "logprobs": 0, "detokenize": False, **forced(count, self._end)},
                max_tokens=room(count),
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            prompt = TokensPrompt(prompt_token_ids=ids)
            output = [one async for one in self._llm.generate(prompt, params, str(self._number))][-1]
            sampled = list(output.outputs[0].token_ids)
            totals["sampled"] += len(sampled)
            totals["prompt"] += len(ids)
            totals["cached"] += output.num_cached_tokens or 0
            ids = ids + sampled


def forced(count: int, end: int) -> dict[str, Any]:
    """Sampling parameters that make an answer of ``count`` tokens, the end token included."""
    return {"min_tokens": count - 1, "logit_bias": {end: STRONG}}


def room(count: int) -> int:
    """A token limit that such an answer does not meet, so that it ends as answers do."""
    return count + 8


async def main() -> None:
    """Answer until stdin ends. Only answers go to stdout."""
    answers, sys.stdout = sys.stdout, sys.stderr
    bare = Bare()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        work = orjson.loads(await asyncio.to_thread(Path(order["work"]).read_bytes))
        print(json.dumps(await bare.replay(work, order["in_flight"])), file=answers, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
