"""The model for those who deploy by a configuration file (``serve deploy``, a RayService of KubeRay)."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from ray.serve import Application

from gym_ray.models.config import ModelConfig
from gym_ray.models.serve.deployment import application, build_responder
from gym_ray.types.errors import UserError
from gym_ray.types.validation import explain

NAME = "model"
"""What the application must be called, for its replicas to find each other."""


def build(args: dict[str, Any]) -> Application:
    """``import_path: gym_ray.models.serve.application:build``. ``args``: the settings below ``model``.

    Raises:
        UserError: they cannot work.
    """
    try:
        config = ModelConfig.model_validate(args)
    except ValidationError as error:
        raise UserError("\n".join(f"model.{line}" for line in explain(error))) from None
    if config.kind != "vllm":
        raise UserError("model.kind=openai is a remote endpoint: there is nothing to serve")
    build_responder(config)
    return application(config, NAME)
