"""An agent with the plain `openai` client: a tool loop over Chat Completions.

python chat_loop.py [PORT]
"""

import asyncio
import json
import sys

import aiohttp
from aiohttp import web
from openai import AsyncOpenAI

OPENAI = AsyncOpenAI(base_url="http://unused", api_key="unused")


async def run(request: web.Request) -> web.Response:
    asked = await request.json()
    client = OPENAI.with_options(base_url=asked["base_url"], api_key=asked["api_key"])
    tools = [
        {"type": "function", "function": {name: tool[name] for name in ("name", "description", "parameters")}}
        for tool in asked["tools"]
    ]
    question = asked["task"]["responses_create_params"]["input"]
    messages = question if isinstance(question, list) else [{"role": "user", "content": question}]
    async with aiohttp.ClientSession() as session:

        async def call(one) -> dict:
            try:
                arguments = json.loads(one.function.arguments)
            except json.JSONDecodeError as error:
                return {"role": "tool", "tool_call_id": one.id, "content": f"no JSON: {error}"}
            async with session.post(f"{asked['tools_url']}/{one.function.name}", json=arguments) as reply:
                said = await reply.json()
            return {"role": "tool", "tool_call_id": one.id, "content": said.get("output") or json.dumps(said)}

        while True:
            reply = await client.chat.completions.create(
                model=asked["model"],
                messages=messages,
                tools=tools or None,
                parallel_tool_calls=True if tools else None,
                max_completion_tokens=1024,
                seed=7,
                store=False,
                metadata={"agent": "chat_loop"},
            )
            message = reply.choices[0].message
            messages.append(message.model_dump(exclude_none=True))
            if not message.tool_calls:
                return web.json_response({"output": message.content})
            messages += await asyncio.gather(*map(call, message.tool_calls))


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/run", run)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 9000, print=None)
