"""One run at a time has a model's application, and a dead one has none."""

from __future__ import annotations

from typing import Any

import pytest

from gym_ray.types.errors import UserError

pytestmark = pytest.mark.ray


class Rival:
    """Another run, in a process of its own."""

    def claim(self, app_name: str) -> str:
        """Why it was refused; empty when it was not."""
        from gym_ray.models.serve import claim

        claim.DYING_S = 1.0
        try:
            claim.claim(app_name)
        except UserError as error:
            return str(error)
        return ""

    def end(self) -> None:
        """Die as a killed driver does."""
        import os

        os._exit(1)


def test_a_second_run_is_refused_until_the_first_has_ended_or_died(
    ray_cluster: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from gym_ray.models.serve import claim as module
    from gym_ray.models.serve.claim import claim, release

    rival = ray.remote(Rival).options(num_cpus=0).remote()
    claim("claimed")
    claim("claimed")  # the same run again: a model deployed anew
    refused = ray.get(rival.claim.remote("claimed"))
    assert f"`claimed` of this cluster belongs to another run (job {ray.get_runtime_context().get_job_id()}" in refused
    assert "model.serve.app=NAME" in refused
    assert ray.get(rival.claim.remote("another")) == ""
    release("claimed")
    assert ray.get(rival.claim.remote("claimed")) == "", "what was refused left nothing behind, nor did who ended"

    monkeypatch.setattr(module, "DYING_S", 1.0)
    with pytest.raises(UserError, match="another run \\(actor "):
        claim("claimed")
    monkeypatch.undo()
    rival.end.remote()
    claim("claimed")
    release("claimed")
