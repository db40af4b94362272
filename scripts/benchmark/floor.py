"""The floor: the cheapest client one can write with the same libraries, for the same requests.

``python -m benchmark.floor BASE_URL REQUESTS IN_FLIGHT``: each request is encoded, posted, its reply parsed.
Nothing is scheduled, verified or written.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import orjson
import uvloop

PROMPT = "question-000000\nWhich of these letters comes first?\nA: a\nB: b\nAnswer with \\boxed{letter}."


async def _post(session: aiohttp.ClientSession, url: str, todo: list[int]) -> None:
    while todo:
        todo.pop()
        body = orjson.dumps({"model": "mock", "input": [{"role": "user", "content": PROMPT}], "temperature": 1.0})
        async with session.post(url, data=body, headers={"content-type": "application/json"}) as reply:
            parsed = orjson.loads(await reply.read())
            assert parsed["status"] == "completed"


async def run(base_url: str, requests: int, in_flight: int) -> None:
    """Post ``requests`` requests, ``in_flight`` at a time."""
    todo = list(range(requests))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(_post(session, f"{base_url}/responses", todo) for _ in range(in_flight)))


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
