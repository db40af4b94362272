"""An agent with the OpenAI Agents SDK: its runner, its tools, Chat Completions below.

python agents_sdk.py [PORT]
"""

import sys

import aiohttp
from agents import Agent, FunctionTool, ModelSettings, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from aiohttp import web
from openai import AsyncOpenAI

OPENAI = AsyncOpenAI(base_url="http://unused", api_key="unused")
set_tracing_disabled(True)


def environment_tool(session: aiohttp.ClientSession, url: str, tool: dict) -> FunctionTool:
    async def call(_, arguments: str) -> str:
        async with session.post(f"{url}/{tool['name']}", data=arguments) as reply:
            return (await reply.json())["output"]

    return FunctionTool(
        name=tool["name"],
        description=tool["description"],
        params_json_schema=tool["parameters"],
        on_invoke_tool=call,
        strict_json_schema=False,
    )


async def run(request: web.Request) -> web.Response:
    asked = await request.json()
    client = OPENAI.with_options(base_url=asked["base_url"], api_key=asked["api_key"])
    async with aiohttp.ClientSession() as session:
        agent = Agent(
            name="worker",
            model=OpenAIChatCompletionsModel(asked["model"], client),
            model_settings=ModelSettings(parallel_tool_calls=True, store=False),
            tools=[environment_tool(session, asked["tools_url"], tool) for tool in asked["tools"]],
        )
        result = await Runner.run(agent, asked["task"]["responses_create_params"]["input"], max_turns=20)
    return web.json_response({"output": result.final_output})


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/run", run)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 9000, print=None)
