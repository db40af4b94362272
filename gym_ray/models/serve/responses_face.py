"""Responses: a reply as a ``response`` object, or as the events that build it.

Each item is opened, filled and closed before the next one; calls come whole at the end. Items of the last
event have the ids that they were streamed under. Shapes: the OpenAI API reference.
"""

from __future__ import annotations

from uuid import uuid4

from gym_ray.models.serve.engine import Piece, Turn
from gym_ray.models.serve.openai_api import Json, TokenTexts, response_begun, response_done, response_head
from gym_ray.models.serve.stream import Told
from gym_ray.types.items import Item


class ResponsesFace:
    """See :class:`~gym_ray.models.serve.stream.Face`."""

    end = b""

    def __init__(self, body: Json, turn: Turn, model: str, token_texts: TokenTexts) -> None:
        self._body, self._turn, self._model, self._texts = body, turn, model, token_texts
        self._head, self._told = response_head(), Told()
        self._number, self._begun = 0, False
        self._open: _Item | None = None
        self._closed: list[_Item] = []

    def events(self, piece: Piece) -> list[Json]:
        """See :class:`~gym_ray.models.serve.stream.Face`."""
        events = self._first()
        for kind, text in piece.said:
            self._told.add(kind, text)
            events += self._say(kind, text)
        if piece.reply is not None:
            events += self._last(piece.reply)
        return self._numbered(events)

    def failure(self, error: Json) -> Json:
        """See :class:`~gym_ray.models.serve.stream.Face`."""
        about = {"code": error["code"], "message": error["message"], "param": None}
        return self._numbered([{"type": "error", **about}])[0]

    def whole(self, reply: Json) -> Json:
        """The same reply, unstreamed."""
        return response_done(self._body, self._turn, reply, self._model, self._head, self._texts)

    def _numbered(self, events: list[Json]) -> list[Json]:
        for event in events:
            event["sequence_number"] = self._number
            self._number += 1
        return events

    def _first(self) -> list[Json]:
        if self._begun:
            return []
        self._begun = True
        response = response_begun(self._body, self._model, self._head)
        return [{"type": f"response.{name}", "response": response} for name in ("created", "in_progress")]

    def _say(self, kind: str, text: str) -> list[Json]:
        events = []
        if self._open is None or self._open.kind != kind:
            events += self._close()
            self._open = _Item(kind, len(self._closed))
            events += self._open.opening()
        return [*events, self._open.delta(text)]

    def _close(self, item: Item | None = None) -> list[Json]:
        """Close the open item; ``item``: as it stands in the whole reply."""
        closing, self._open = self._open, None
        if closing is None:
            return []
        self._closed.append(closing)
        return closing.closing(item)

    def _last(self, reply: Json) -> list[Json]:
        events: list[Json] = []
        for kind, text in self._told.rest(reply["items"]):
            events += self._say(kind, text)
        begun = [*self._closed, *([self._open] if self._open else [])]
        items = [_renamed(item, begun) for item in reply["items"]]
        response = self.whole({**reply, "items": items})
        output = response["output"]
        if self._open:
            events += self._close(output[self._open.index])
        for index in range(len(self._closed), len(output)):
            events += _call_events(output[index], index)
        ended = "incomplete" if response["status"] == "incomplete" else "completed"
        return [*events, {"type": f"response.{ended}", "response": response}]


_TYPES = {"thought": "reasoning", "text": "message"}


def _renamed(item: Item, begun: list[_Item]) -> Item:
    """``item`` under the id that its stream began with."""
    ids = [one.id for one in begun if _TYPES[one.kind] == item["type"]]
    return {**item, "id": ids[0]} if ids else item


class _Item:
    """A reasoning or message item that is being streamed."""

    def __init__(self, kind: str, index: int) -> None:
        self.kind, self.index = kind, index
        self._said: list[str] = []
        thought = kind == "thought"
        self.id = f"{'rs' if thought else 'msg'}_{uuid4().hex}"
        self._at: Json = {"item_id": self.id, "output_index": index}
        self._at["summary_index" if thought else "content_index"] = 0
        self._part_name = "reasoning_summary_part" if thought else "content_part"
        self._text_name = "reasoning_summary_text" if thought else "output_text"

    def opening(self) -> list[Json]:
        return [
            {"type": "response.output_item.added", "output_index": self.index, "item": self._item("in_progress")},
            {"type": f"response.{self._part_name}.added", **self._at, "part": self._part("")},
        ]

    def delta(self, text: str) -> Json:
        self._said.append(text)
        more: Json = {"logprobs": []} if self.kind == "text" else {}
        return {"type": f"response.{self._text_name}.delta", **self._at, "delta": text, **more}

    def closing(self, item: Item | None) -> list[Json]:
        """``item``: as it stands in the whole reply, or None to make it of what was streamed."""
        text = "".join(self._said)
        item = item or self._item("completed", self._part(text))
        part = (item["summary"] if self.kind == "thought" else item["content"])[0]
        more: Json = {"logprobs": part.get("logprobs", [])} if self.kind == "text" else {}
        return [
            {"type": f"response.{self._text_name}.done", **self._at, "text": text, **more},
            {"type": f"response.{self._part_name}.done", **self._at, "part": part},
            {"type": "response.output_item.done", "output_index": self.index, "item": item},
        ]

    def _item(self, status: str, *parts: Json) -> Item:
        if self.kind == "thought":
            return {"type": "reasoning", "id": self.id, "summary": list(parts)}
        return {"type": "message", "id": self.id, "role": "assistant", "status": status, "content": list(parts)}

    def _part(self, text: str) -> Json:
        if self.kind == "thought":
            return {"type": "summary_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": []}


def _call_events(item: Item, index: int) -> list[Json]:
    """An item that comes whole: a call, or a message without a character."""
    at = {"output_index": index}
    if item["type"] != "function_call":
        return [{"type": f"response.output_item.{name}", **at, "item": item} for name in ("added", "done")]
    opened = {**item, "arguments": "", "status": "in_progress"}
    about = {"item_id": item["id"], **at}
    kind = "response.function_call_arguments"
    return [
        {"type": "response.output_item.added", **at, "item": opened},
        {"type": f"{kind}.delta", **about, "delta": item["arguments"]},
        {"type": f"{kind}.done", **about, "name": item["name"], "arguments": item["arguments"]},
        {"type": "response.output_item.done", **at, "item": item},
    ]
