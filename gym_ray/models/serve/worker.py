"""What we add to vLLM's worker processes (``worker_extension_cls``): loading weights in place, completely.

vLLM's CPU kernels work on packed copies of the weights. A reload packs anew what it loads; an output head
that is tied to the embeddings is not in the files, so its copy would stay that of the old weights.
"""

from __future__ import annotations

from typing import Any


class WeightsWorker:
    """Mixed into the worker's class by vLLM: ``self`` is a worker."""

    def gym_ray_load(self, directory: str) -> None:
        """Replace the weights by the safetensors files of ``directory`` (as a checkpoint has them)."""
        worker: Any = self
        worker.reload_weights(weights_path=directory)
        for layer in worker.model_runner.get_model().modules():
            if type(layer).__name__ == "ParallelLMHead" and hasattr(layer, "cpu_linear"):
                layer.quant_method.process_weights_after_loading(layer)
