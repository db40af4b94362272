"""The model's face towards one rollout: what was answered is kept, so that a client need not send it again.

Responses have ids, and a later request may name one as ``previous_response_id`` in place of the conversation up to it.
Instructions are no part of that, as the API has it. What is kept lives as long as the rollout.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from gym_ray.models.serve.app import App, json_object
from gym_ray.models.serve.engine import Responder
from gym_ray.models.serve.openai_api import responses_turn
from gym_ray.models.serve.responses_face import ResponsesFace
from gym_ray.models.serve.sampling import rejected
from gym_ray.types.items import Item, input_items

Json = dict[str, Any]
Said = dict[str, list[Item]]


class RememberingApp(App):
    """See the module."""

    def __init__(self, responder: Responder, model: str) -> None:
        super().__init__(responder, model)
        self._said: Said = {}

    async def _responses(self, body: bytes) -> Any:
        request = json_object(body)
        before = request.pop("previous_response_id", None)
        if before is not None:
            if before not in self._said:
                raise rejected(f"`previous_response_id`: this rollout has no response {before!r}"[:200])
            request["input"] = [*self._said[before], *_items(request)]
        return await self._face(request, responses_turn, partial(_KeptFace, self._said))


class _KeptFace(ResponsesFace):
    def __init__(self, said: Said, body: Json, *rest: Any) -> None:
        super().__init__(body, *rest)
        self._kept = said

    def whole(self, reply: Json) -> Json:
        """See :class:`ResponsesFace`."""
        response = super().whole(reply)
        self._kept[response["id"]] = [*_items(self._body), *reply["items"]]
        return response


def _items(body: Json) -> list[Item]:
    given = body.get("input")
    if not isinstance(given, str | list):
        raise rejected("`input` must be a string or a list of items")
    return input_items({"input": given})
