"""vLLM's AsyncLLM as an :class:`~gym_ray.models.serve.engine.Engine`.

vLLM is imported only inside :meth:`VllmEngine.start`, so that only replicas need it. Detokenizing is left
to us (sampled ids are the truth, their text is made once, at the end), and only final outputs cross from
the engine's process. Logprobs are those of the distribution that was sampled from (after temperature and
the like), unless ``engine_args.logprobs_mode`` says otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from gym_ray.models.config import ModelConfig
from gym_ray.models.serve.engine import Generation
from gym_ray.models.serve.live import Interrupted, PauseMode, Valve, paused
from gym_ray.types.errors import UserError

ENGINE_DEFAULTS: dict[str, Any] = {
    "logprobs_mode": "processed_logprobs",
    "disable_log_stats": True,
    "enable_prefix_caching": True,
    "worker_extension_cls": "gym_ray.models.serve.worker.WeightsWorker",
}
CPU_DEFAULTS: dict[str, Any] = {
    # vLLM's CPU worker dies when the prompt of a request with a seed is computed in parts.
    "enable_chunked_prefill": False,
}
WARMUP_TOKENS = 4


class VllmEngine:
    """One AsyncLLM and what belongs to it."""

    tokenizer: Any
    max_len: int
    stop_ids: Sequence[int]

    def __init__(self, config: ModelConfig) -> None:
        """
        Raises:
            UserError: no weights are named.
        """
        if not config.serve.path:
            raise UserError("model.serve.path: name the weights to serve")
        self._config = config
        self.version, self._valve = 0, Valve()
        self.kv_used: float | None = None

    async def start(self) -> None:
        """Load weights and sample a few tokens, so that no rollout pays for lazy initialization."""
        from vllm import exceptions
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.inputs import TokensPrompt
        from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
        from vllm.v1.engine.async_llm import AsyncLLM

        self._tokens_prompt, self._sampling_params = TokensPrompt, SamplingParams
        self._structured_outputs, self._output_kind = StructuredOutputsParams, RequestOutputKind
        # Before vLLM had an error class for bad requests it raised ValueError.
        self._client_error = getattr(exceptions, "VLLMClientError", ValueError)
        serve = self._config.serve
        defaults = ENGINE_DEFAULTS if serve.num_gpus else ENGINE_DEFAULTS | CPU_DEFAULTS
        arguments = defaults | serve.engine_args | {"model": serve.path}
        if serve.reasoning_parser:
            arguments["reasoning_parser"] = serve.reasoning_parser
        # With a listener vLLM keeps statistics, whatever else it is told.
        listeners = None if arguments["disable_log_stats"] else [lambda config, index=0: _KvUse(self)]
        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments), stat_loggers=listeners)
        self.tokenizer = self._llm.get_tokenizer()
        self.max_len = self._llm.model_config.max_model_len
        self.stop_ids = _stop_ids(self.tokenizer, self._llm.model_config)
        if self._versioned:
            await self._llm.update_weight_version(str(self.version))
        await self.generate([self.stop_ids[0]], {"max_tokens": WARMUP_TOKENS, "ignore_eos": True}, "warm-up")

    async def generate(self, prompt: list[int], sampling: dict[str, Any], request_id: str) -> Generation:
        """Sample once; see :class:`~gym_ray.models.serve.engine.Engine`."""
        params = self._params(sampling, self._output_kind.FINAL_ONLY)
        while True:
            try:
                return [output async for output in self._outputs(prompt, params, request_id)][-1]
            except Interrupted:
                continue  # What it had so far is dropped, and it begins again when the pause is over.

    async def stream(
        self, prompt: list[int], sampling: dict[str, Any], request_id: str
    ) -> AsyncGenerator[Generation, None]:
        """Sample once, telling as it goes; see :class:`~gym_ray.models.serve.engine.Engine`."""
        params = self._params(sampling, self._output_kind.DELTA)
        async with aclosing(self._outputs(prompt, params, request_id)) as outputs:
            try:
                async for output in outputs:
                    yield output
            except Interrupted:
                raise paused("a pause ended this stream") from None  # What was told cannot be taken back.

    async def _outputs(self, prompt: list[int], params: Any, request_id: str) -> AsyncGenerator[Generation, None]:
        request = self._tokens_prompt(prompt_token_ids=prompt)
        await self._valve.enter()
        try:
            async with aclosing(self._llm.generate(request, params, request_id)) as outputs:
                async for output in outputs:
                    if output.outputs[0].finish_reason == "abort":
                        raise Interrupted()
                    yield self._generation(output, params.logprobs)
        except self._client_error as error:
            raise ValueError(str(error)) from error

    def _generation(self, whole: Any, top: int) -> Generation:
        output = whole.outputs[0]
        versions = _versions(output)
        return Generation(
            ids=list(output.token_ids),
            logprobs=[at[token].logprob for at, token in zip(output.logprobs, output.token_ids, strict=True)],
            stopped=output.finish_reason == "stop",
            cached=whole.num_cached_tokens or 0,
            stop_text=output.stop_reason if isinstance(output.stop_reason, str) else None,
            version=self.version if versions is None else versions,
            overall=versions,
            top=[_most_likely(at, top) for at in output.logprobs] if top else None,
        )

    @property
    def paused(self) -> bool:
        """See :class:`~gym_ray.models.serve.live.Live`."""
        return self._valve.closed

    async def pause(self, mode: PauseMode) -> None:
        """See :class:`~gym_ray.models.serve.live.Live`.

        Raises:
            UserError: this vLLM does not say which weights sampled a token.
        """
        if not self._versioned:
            raise UserError("this vLLM cannot change weights while it runs: install 0.32 or later")
        self._valve.close()
        await self._llm.pause_generation(mode=mode, clear_cache=False)

    async def resume(self) -> None:
        """See :class:`~gym_ray.models.serve.live.Live`."""
        await self._llm.resume_generation()
        self._valve.open()

    async def load(self, directory: str, version: int) -> None:
        """See :class:`~gym_ray.models.serve.live.Live`.

        The prefix cache is emptied, and running requests give up their keys and values: those that go on
        compute them anew, so that each token's logprob is that of one set of weights over its whole context.
        """
        if not await self._llm.reset_prefix_cache(reset_running_requests=True):
            raise RuntimeError("vLLM could not empty its prefix cache")
        await self._llm.collective_rpc("gym_ray_load", args=(directory,))
        await self._llm.update_weight_version(str(version))
        self.version = version

    @property
    def _versioned(self) -> bool:
        return hasattr(self._llm, "update_weight_version")

    async def health(self) -> None:
        """Raise ``EngineDeadError`` once the engine's processes are gone."""
        await self._llm.check_health()

    async def stop(self) -> None:
        """End the engine's processes."""
        await asyncio.to_thread(self._llm.shutdown)

    def _params(self, sampling: dict[str, Any], output_kind: Any) -> Any:
        try:
            return self._checked_params(sampling, output_kind)
        except (self._client_error, TypeError) as error:
            raise ValueError(str(error)) from None

    def _checked_params(self, sampling: dict[str, Any], output_kind: Any) -> Any:
        fields = {"logprobs": 0, **sampling}
        constraint = fields.pop("structured_outputs", None)
        if constraint:
            fields["structured_outputs"] = self._structured_outputs(**constraint)
        # Stop strings are found in the engine's own text; without them no text is needed there.
        return self._sampling_params(**fields, detokenize=bool(fields.get("stop")), output_kind=output_kind)


class _KvUse:
    """One of vLLM's stat loggers (``StatLoggerBase``): keeps the engine's ``kv_used`` up to date."""

    def __init__(self, engine: VllmEngine) -> None:
        self._engine = engine

    def record(self, scheduler_stats: Any, *others: Any, **more: Any) -> None:
        if scheduler_stats is not None:
            self._engine.kv_used = scheduler_stats.kv_cache_usage

    def log_engine_initialized(self) -> None:
        pass

    def log(self) -> None:
        pass

    def record_sleep_state(self, is_awake: int, level: int) -> None:
        pass


def _most_likely(at: dict[int, Any], many: int) -> dict[int, float]:
    """The ``many`` most likely tokens of one place; the sampled one need not be among them."""
    return {token: one.logprob for token, one in at.items() if one.rank <= many}


def _versions(output: Any) -> int | list[int] | None:
    """The version that sampled each id of the whole call, or the one that sampled all. None: not known (yet)."""
    spans = getattr(output, "weight_versions", None)
    if not spans:
        return None
    if len(spans) == 1:
        return int(spans[0].version)
    return [int(span.version) for span in spans for _ in range(span.start, span.end)]


def _stop_ids(tokenizer: Any, model_config: Any) -> list[int]:
    """The tokenizer's end token first, then those of the generation config."""
    more = model_config.try_get_generation_config().get("eos_token_id") or []
    ids = [tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])]
    return list(dict.fromkeys(token for token in ids if token is not None))
