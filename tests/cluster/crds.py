"""Kubernetes' own idea of a custom resource, as a strict JSON schema.

An API server prunes keys that it does not know without a word; here they are errors. The definitions are the
operator's (``ray-operator/config/crd/bases`` of KubeRay), found at ``GYM_RAY_KUBERAY_CRDS`` or beside the checkout.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

FOLDER = Path(os.environ.get("GYM_RAY_KUBERAY_CRDS", Path(__file__).parents[2].parent / "shared/kuberay-crds"))
FILES = {"RayCluster": "rayclusters", "RayJob": "rayjobs", "RayService": "rayservices"}


def problems(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with a manifest, one line each. Skips the test where there are no definitions."""
    if not FOLDER.is_dir():
        pytest.skip(f"no KubeRay definitions at {FOLDER} (GYM_RAY_KUBERAY_CRDS names another place)")
    validator = jsonschema.Draft7Validator(_schema(manifest["kind"]))
    return [f"{'/'.join(map(str, error.path))}: {error.message[:300]}" for error in validator.iter_errors(manifest)]


@cache
def _schema(kind: str) -> dict[str, Any]:
    definition = yaml.load((FOLDER / f"ray.io_{FILES[kind]}.yaml").read_text(), yaml.CSafeLoader)
    version = next(one for one in definition["spec"]["versions"] if one["name"] == "v1")
    schema = _strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    schema["properties"]["kind"] = {"const": kind}
    schema["properties"]["apiVersion"] = {"const": "ray.io/v1"}
    return {**schema, "required": ["apiVersion", "kind", "metadata", "spec"]}


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string"):
        # Quantities: the pattern tells 1Gi from nonsense, and goes for texts only.
        return {key: node[key] for key in ("pattern",) if key in node} | {"type": ["integer", "string"]}
    strict = {
        key: {name: _strict(one) for name, one in value.items()} if key == "properties" else _strict(value)
        for key, value in node.items()
        if not key.startswith("x-") and key not in ("description", "default", "format")
    }
    if "properties" in node and "additionalProperties" not in node:
        strict["additionalProperties"] = bool(node.get("x-kubernetes-preserve-unknown-fields"))
    if node.get("nullable") and "type" in strict:
        strict["type"] = [strict["type"], "null"]
    return strict
