"""A scripted model for our own Serve deployment: what ``Counter`` of ``envs.py`` wants to hear for ``bump 2``."""

from __future__ import annotations

from gym_ray.models.config import ModelConfig
from gym_ray.types.items import assistant_message, function_call
from tests.models.serve.scripted import ScriptedModel


class BumpTwice(ScriptedModel):
    """Calls ``bump`` twice, then says 2; 0.15 s a call."""

    def __init__(self, config: ModelConfig) -> None:
        bump = [function_call("bump", "{}", "call")]
        arguments = {"script": [bump, bump, [assistant_message("2")]], "latency_s": 0.15}
        serve = config.serve.model_copy(update={"engine_args": arguments})
        super().__init__(config.model_copy(update={"serve": serve}))
