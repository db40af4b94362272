"""Published repair tasks as rows of this environment: SWE-bench's columns, as SWE-Gym and others have them too.

Facts: NeMo Gym's ``swe_agents`` keeps them in ``responses_create_params.metadata`` and, as JSON, in its
``instance_dict``; its ``app.py`` says in which folder of its image each data set has the repository
(``_resolve_opencode_workspace_path``) and how an image is called after its instance (``_find_container``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gym_ray.types.items import user_message

FOLDERS = {"nv-internal-1": "/app", "deepswe": "/app", "swe-bench-ext": "/workspace/repo"}
"""Where images of these data sets have the repository."""
FOLDER = "/testbed"
"""Where all others have it."""
PROMPT = """\
{problem}

The repository is in the current folder. Repair it with the tools, then say in one sentence what was wrong. Tests that \
you cannot see will be run afterwards; leave the repository's own tests as they are."""
Row = dict[str, Any]


def adopted(row: Row) -> Row:
    """``row`` with what this environment reads, where it has a published task's columns; else as it is.

    Everything that tells the repair (golden patches, hints) is left out.

    Raises:
        ValueError: a column cannot be read.
    """
    params = row.get("responses_create_params")
    metadata = params.get("metadata") if isinstance(params, dict) else None
    columns: Row = {**row, **(metadata if isinstance(metadata, dict) else {})}
    columns |= _object(columns.get("instance_dict"))
    if "image" in row or not columns.keys() & {"FAIL_TO_PASS", "fail_to_pass", "expected_output_json"}:
        return row
    if "test_patch" not in columns:
        raise ValueError("`test_patch` is missing: tests that lie in the image (R2E-Gym's) could be read by the agent")
    name, problem = str(columns.get("instance_id", "")), str(columns.get("problem_statement", ""))
    kept: Row = {key: row[key] for key in ("agent_ref", "dataset", "environment", "task_id") if key in row}
    return {
        **kept,
        "responses_create_params": {"input": [user_message(PROMPT.format(problem=problem.strip()))]},
        "instance_id": name,
        "image": str(columns.get("image_name") or columns.get("docker_image") or name),
        "folder": _folder(str(columns.get("dataset_name", "")), columns),
        "test_patch": columns["test_patch"],
        "fail_to_pass": _names(columns, "fail_to_pass"),
        "pass_to_pass": _names(columns, "pass_to_pass"),
    }


def find_image(image: str, templates: Sequence[str]) -> str:
    """The image that ``image``, an instance's name, has by one of ``templates`` (``/sif/{instance_id}.sif``).

    The first one whose file is there; else the first template with the name as registries have it (``_1776_`` for
    ``__``, small letters). Without templates ``image`` is one by itself.
    """
    made = [template.format(instance_id=name) for template in templates for name in _spellings(image)]
    there = (path for path in made if path.startswith(("/", ".")) and Path(path).is_file())
    registry = templates[0].format(instance_id=image.replace("__", "_1776_").lower()) if templates else image
    return next(there, registry)


def _spellings(name: str) -> list[str]:
    found = [name, re.sub(r"[^_]+__([^-]+)-", lambda match: f"{match[1].lower()}_final_", name)]
    for mark in ("_1776_", "_s_"):
        found += [name.replace("__", mark), name.replace("__", mark).lower()]
    return list(dict.fromkeys(found))


def _folder(dataset: str, columns: Row) -> str:
    if "SWE-rebench-V2" in dataset:
        return f"/{str(columns.get('repo', '')).rpartition('/')[2]}"
    return str(columns.get("workspace_path") or FOLDERS.get(dataset, FOLDER))


def _names(columns: Row, key: str) -> list[str]:
    value = columns.get(key.upper(), columns.get(key, []))
    names = json.loads(value) if isinstance(value, str) else value
    if not isinstance(names, list):
        raise ValueError(f"`{key.upper()}` is no list")
    return [str(name) for name in names]


def _object(value: Any) -> Row:
    found = json.loads(value) if isinstance(value, str) else value
    return found if isinstance(found, dict) else {}
