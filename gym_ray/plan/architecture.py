"""What a model's memory depends on, from facts that are published or lie beside its weights.

Keys and values grow with each token and attention layer; a Mamba-2 layer keeps a state of fixed size per request.

    bytes per token   = 2 * attention layers * key-value heads * head size * 2 (BF16)
    bytes per request = Mamba layers * (heads * head size * state size * state bytes
                        + (kernel - 1) * (heads * head size + 2 * groups * state size) * 2)

Source: vLLM, ``model_executor/layers/mamba/mamba_utils.py`` (``mamba2_state_shape``) and its KV cache layout. With
more tensor-parallel ranks than key-value heads, each rank keeps a copy of one head.

Invariant: nothing is guessed. A model that is not known here has no architecture, and whoever shows a plan says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

KV_BYTES = 2
"""BF16 keys and values."""
CONV_BYTES = 2
"""BF16 convolution states."""
STATE_BYTES = {"float32": 4, "auto": 2, "bfloat16": 2, "float16": 2}
"""By ``mamba_ssm_cache_dtype``."""


@dataclass(frozen=True, slots=True)
class Mamba:
    """The Mamba-2 layers of a model."""

    layers: int
    heads: int
    head_size: int
    state_size: int
    groups: int = 8
    kernel: int = 4

    def bytes_per_request(self, state_bytes: int) -> int:
        """See the module."""
        inner = self.heads * self.head_size
        convolution = (self.kernel - 1) * (inner + 2 * self.groups * self.state_size) * CONV_BYTES
        return self.layers * (inner * self.state_size * state_bytes + convolution)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model. ``weight_bytes``: all its weights. ``source``: where the facts are from."""

    weight_bytes: float
    attention_layers: int
    kv_heads: int
    head_size: int
    source: str
    mamba: Mamba | None = None

    def bytes_per_token(self, tensor_parallel: int = 1) -> int:
        """Keys and values of one token on all ranks together."""
        copies = max(1, -(-tensor_parallel // self.kv_heads))
        return 2 * self.attention_layers * self.kv_heads * copies * self.head_size * KV_BYTES

    def bytes_per_request(self, state_dtype: str) -> int:
        """What one request keeps whatever its length."""
        return self.mamba.bytes_per_request(STATE_BYTES.get(state_dtype, 4)) if self.mamba else 0


_NANO = Mamba(layers=23, heads=64, head_size=64, state_size=128)
_SUPER = Mamba(layers=40, heads=128, head_size=64, state_size=128)
_NANO_SOURCE = "arXiv 2512.20848, table 1; NVIDIA-NeMo/Megatron-Bridge, Nemotron3NanoProvider"
_SUPER_SOURCE = "the weights' config.json: 88 layers, 40 M, 40 E, 8 *"
KNOWN: dict[str, Architecture] = {
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": Architecture(31.6e9 * 2, 6, 2, 128, _NANO_SOURCE, _NANO),
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-FP8": Architecture(31.6e9, 6, 2, 128, _NANO_SOURCE, _NANO),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16": Architecture(120.6e9 * 2, 8, 2, 128, _SUPER_SOURCE, _SUPER),
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8": Architecture(120.6e9, 8, 2, 128, _SUPER_SOURCE, _SUPER),
    "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8": Architecture(235.1e9, 94, 4, 128, "arXiv 2505.09388, table 2"),
    "nvidia/Qwen3-Nemotron-235B-A22B-GenRM-2603": Architecture(
        235.1e9 * 2, 94, 4, 128, "arXiv 2505.09388, table 2 (the model it is tuned from)"
    ),
    "nvidia/Nemotron-Content-Safety-Reasoning-4B": Architecture(
        4.3e9 * 2,
        34,
        4,
        256,
        "Gemma 3 4B, config.json (the model it is tuned from); its sliding windows are not counted",
    ),
}
"""Models of the recipes, by hub name."""


def architecture_of(path: str | None) -> Architecture | None:
    """The architecture of the weights at ``path``: a known hub name, or a directory with ``config.json``."""
    if path is None or path in KNOWN:
        return KNOWN.get(path or "")
    config = Path(path) / "config.json"
    if not config.is_file():
        return None
    try:
        return _read(orjson.loads(config.read_bytes()), Path(path))
    except (KeyError, TypeError, ValueError):
        return None


def _read(config: dict[str, Any], folder: Path) -> Architecture:
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    heads = config["num_attention_heads"]
    head_size = config.get("head_dim") or config["hidden_size"] // heads
    pattern = config.get("hybrid_override_pattern")
    layers = pattern.count("*") if pattern else config["num_hidden_layers"]
    mamba = None
    if pattern and "M" in pattern:
        mamba = Mamba(
            pattern.count("M"),
            config["mamba_num_heads"],
            config["mamba_head_dim"],
            config["ssm_state_size"],
            config["n_groups"],
            config["conv_kernel"],
        )
    kv_heads = config.get("num_key_value_heads") or heads
    return Architecture(size, layers, kv_heads, head_size, "config.json beside the weights", mamba)
