"""Settings of a model (``model.*``)."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from gym_ray.types.settings import Settings

_ADDRESS = re.compile(r"https?://[^/?#]", re.IGNORECASE)


class RetryConfig(Settings):
    """Budget of one model call."""

    max_attempts: int = Field(6, ge=1)
    """Tries in all, the first included."""
    base_s: float = Field(0.5, ge=0)
    """First backoff, in seconds; doubles each time, with full jitter."""
    max_s: float = Field(30.0, ge=0)
    """Longest single backoff, in seconds. A longer Retry-After wins, within `timeout_s`."""


class ServeConfig(Settings):
    """The Ray Serve deployment that hosts the model (kind `vllm`)."""

    path: str | None = None
    """Weights: a directory, a hub name, or `package://some.package/folder` inside an installed package."""
    engine: str = "gym_ray.models.serve.vllm_engine:VllmEngine"
    """Import path of the engine class; another one is for benchmarks and tests."""
    engine_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of vLLM's AsyncEngineArgs, by name (`tensor_parallel_size`, `max_model_len`, ...)."""
    app: str | None = None
    """Name of its Serve application, one model's at a time per cluster. None: `policy`, `judge-NAME`, or `model`
    where only a model is served."""
    num_replicas: int = Field(1, ge=1)
    """Replicas, each with its own engine."""
    max_replicas: int | None = Field(None, ge=1)
    """More replicas come while there are more than `calls_per_replica` calls each, up to so many. None: never."""
    calls_per_replica: float = Field(64.0, gt=0)
    """Calls in flight per replica that scaling aims at."""
    shrink_after_s: float = Field(600.0, ge=0)
    """A replica beyond `num_replicas` goes after so many seconds without need."""
    num_cpus: float = Field(1.0, ge=0)
    """Ray CPUs per replica."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom Ray resources per replica."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Ray node labels that replicas need (`{pool: policy}`)."""
    num_gpus: float = Field(0.0, ge=0)
    """GPUs per worker of the engine; 0: the CPU engine. Tensor and pipeline parallel sizes multiply it."""
    tool_parser: str | None = None
    """Name of a vLLM tool parser (`hermes`, `qwen3_coder`, ...)."""
    reasoning_parser: str | None = None
    """Name of a vLLM reasoning parser (`qwen3`, `deepseek_r1`, ...)."""
    parser_plugins: list[str] = Field(default_factory=list)
    """Python files that register further parsers."""
    chat_template: str | None = None
    """Template file or text that replaces the tokenizer's own."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Defaults handed to the template (`{enable_thinking: true}`)."""
    env: dict[str, str] = Field(default_factory=dict)
    """Environment variables of the replica."""
    listen_host: str | None = None
    """Address at which replicas listen for agents. None: that of their Ray node. Callers need the deployment's token,
    which agents have by themselves."""
    http_port: int | None = Field(None, ge=0, le=65535)
    """Port of the public HTTP face, through Ray Serve's proxy. None: no proxy, replicas' own listeners only."""
    http_host: str = "127.0.0.1"
    """Address the proxy binds to; `0.0.0.0` opens it to the network (then set `api_key_env`)."""
    api_key_env: str | None = None
    """Environment variable of the deploying process that holds the key every request must then show
    (`Authorization: Bearer`). None: the public face is open to whoever reaches it."""
    startup_timeout_s: float = Field(900.0, gt=0)
    """How long the engine may take to come up, in seconds."""


class ModelConfig(Settings):
    """A model: a remote endpoint, or a vLLM deployment of our own."""

    kind: Literal["openai", "vllm"] = "openai"
    """openai: any OpenAI-compatible endpoint at `base_url`. vllm: our own deployment on Ray Serve."""
    name: str = "default"
    """Model name sent with each request."""
    base_url: str | list[str] | None = None
    """Endpoint, `http(s)://host:port/v1`. Several: each rollout sticks to one."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the API key; the key itself is never written anywhere."""
    dialect: Literal["auto", "responses", "chat"] = "auto"
    """Which route the endpoint speaks. auto: `/responses`, falling back to `/chat/completions` on 404."""
    token_ids: Literal["auto", "off", "vllm", "nemo_rl"] = "auto"
    """How exact ids are asked for. auto: as vLLM wants if `/models` says it is one. vllm, nemo_rl: insist."""
    split_think: bool = False
    """Turn `<think>...</think>` in an answer's text into a reasoning item (endpoints without a parser for it)."""
    keep_reasoning: bool = False
    """Leave earlier reasoning in the prompt where the chat template strips it, so that a rollout stays one segment
    (kind vllm). The model then reads more than its template would show it."""
    sampling: dict[str, Any] = Field(default_factory=dict)
    """Create parameters that fill what a row leaves unset (`{temperature: 1.0, max_output_tokens: 4096}`)."""
    sampling_overrides: dict[str, Any] = Field(default_factory=dict)
    """Create parameters that replace the row's own."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields for the request body, as the endpoint wants them."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Further HTTP headers. For secrets use `api_key_env`."""
    max_concurrency: int | None = Field(None, ge=1)
    """Calls in flight per agent worker. None: adaptive (slow start, growth, cut on 429, 503 and timeouts)."""
    timeout_s: float = Field(600.0, gt=0)
    """Deadline of one call with all its retries, in seconds."""
    connect_timeout_s: float = Field(30.0, gt=0)
    """Deadline of one connection attempt, in seconds."""
    retry: RetryConfig = Field(default_factory=RetryConfig)
    """Retry budget."""
    serve: ServeConfig = Field(default_factory=ServeConfig)
    """The deployment, for kind vllm."""

    @field_validator("base_url")
    @classmethod
    def _check_addresses(cls, given: str | list[str] | None) -> str | list[str] | None:
        for base in [given] if isinstance(given, str) else given or ():
            if not _ADDRESS.match(base):
                raise ValueError("an address must look like http://host:port/v1")
        return given
