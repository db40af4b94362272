"""What happens to a group while the service waits for a disk or for the fleet."""

from __future__ import annotations

from collections.abc import Callable

from gym_ray.collect.config import RunConfig
from gym_ray.service.config import ServiceConfig
from gym_ray.service.service import RolloutService


class Disk:
    """In the checkpoint's place: runs ``meanwhile`` while a state is being written."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    async def save(self, *, rates: bool = False) -> None:
        self._meanwhile()


async def test_rows_stay_while_a_state_on_disk_needs_them(make_config: Callable[..., RunConfig]) -> None:
    service = RolloutService(make_config("http://127.0.0.1:1/v1", "Sum"), ServiceConfig())
    ended, open = service._ledger.submit("rows", 0, 4), service._ledger.submit("rows", 1, 4)
    forgotten: list[str] = []
    service._rows.forget = forgotten.append

    def end(entry: object) -> None:
        service._ledger.drop(entry, "stale")
        service._ended.add("rows")

    end(ended)
    service._checkpoint = Disk(lambda: end(open))
    await service._save()
    assert forgotten == [], "the state that was written has an open group with these rows"
    service._checkpoint = Disk(lambda: None)
    await service._save()
    assert forgotten == ["rows"]


async def test_a_group_acknowledged_while_it_is_read_again_stays_ended(make_config: Callable[..., RunConfig]) -> None:
    service = RolloutService(make_config("http://127.0.0.1:1/v1", "Sum"), ServiceConfig())
    entry = service._ledger.submit("rows", 0, 4)
    service._ledger.acknowledge(service._ledger.hand_over(entry))
    service._arrive(entry, "sum/0", [])
    assert not service._ready
    assert (service._ledger.delivered, service._ledger.failed) == (1, 0)
