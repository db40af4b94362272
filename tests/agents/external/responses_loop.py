"""An agent with the plain `openai` client: a tool loop over Responses, streamed, which sends what is new alone.

python responses_loop.py [PORT]
"""

import json
import sys

import aiohttp
from aiohttp import web
from openai import AsyncOpenAI

OPENAI = AsyncOpenAI(base_url="http://unused", api_key="unused")


async def run(request: web.Request) -> web.Response:
    asked = await request.json()
    client = OPENAI.with_options(base_url=asked["base_url"], api_key=asked["api_key"])
    new, before = asked["task"]["responses_create_params"]["input"], None
    async with aiohttp.ClientSession() as session:
        while True:
            async with client.responses.stream(
                model=asked["model"],
                input=new,
                tools=asked["tools"],
                previous_response_id=before,
                temperature=0.2,
                truncation="disabled",
            ) as stream:
                response = await stream.get_final_response()
            calls = [item for item in response.output if item.type == "function_call"]
            if not calls:
                return web.json_response({"output": response.output_text})
            new, before = [], response.id
            for call in calls:
                async with session.post(f"{asked['tools_url']}/{call.name}", data=call.arguments) as reply:
                    said = await reply.json()
                output = said.get("output") or json.dumps(said)
                new.append({"type": "function_call_output", "call_id": call.call_id, "output": output})


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/run", run)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 9000, print=None)
