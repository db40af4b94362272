"""A ReAct agent as a LangGraph graph: a model node, a ToolNode, an edge that ends when nothing is called.

python react_graph.py [PORT]
"""

import sys

import aiohttp
import httpx
from aiohttp import web
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

CONNECTIONS = httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None))


def environment_tool(session: aiohttp.ClientSession, url: str, tool: dict) -> StructuredTool:
    async def call(**arguments) -> str:
        async with session.post(f"{url}/{tool['name']}", json=arguments) as reply:
            return (await reply.json())["output"]

    return StructuredTool(
        name=tool["name"], description=tool["description"], args_schema=tool["parameters"], coroutine=call
    )


def react(llm: ChatOpenAI, tools: list[StructuredTool]):
    bound = llm.bind_tools(tools) if tools else llm

    async def think(state: MessagesState) -> dict:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("think", think)
    graph.add_node("tools", ToolNode(tools, handle_tool_errors=True))
    graph.add_edge(START, "think")
    graph.add_conditional_edges("think", tools_condition)
    graph.add_edge("tools", "think")
    return graph.compile()


async def run(request: web.Request) -> web.Response:
    asked = await request.json()
    llm = ChatOpenAI(
        base_url=asked["base_url"],
        api_key=asked["api_key"],
        model=asked["model"],
        temperature=0,
        http_async_client=CONNECTIONS,
    )
    question = asked["task"]["responses_create_params"]["input"]
    messages = question if isinstance(question, list) else [{"role": "user", "content": question}]
    seen = []
    async with aiohttp.ClientSession() as session:
        graph = react(llm, [environment_tool(session, asked["tools_url"], tool) for tool in asked["tools"]])
        # Streaming the messages of the graph makes its model stream, too.
        async for mode, part in graph.astream({"messages": messages}, stream_mode=["messages", "values"]):
            if mode == "values":
                seen = part["messages"]
    return web.json_response({"output": seen[-1].text, "steps": len(seen)})


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/run", run)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]) if sys.argv[1:] else 9000, print=None)
