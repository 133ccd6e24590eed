"""The protocol: tools that are listed and called, over stdio or HTTP."""

from __future__ import annotations

from typing import Any

from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)

from mountsea_banana._shared.text import encodable
from mountsea_banana._version import __version__

from . import _arguments, _replies
from ._failures import explain
from ._options import Options
from ._pictures import Pictures
from ._replies import Facts, Reply
from ._tools import INSTRUCTIONS, tools

Context = ServerRequestContext[dict[str, Any]]


def create_server(pictures: Pictures, options: Options) -> Server[dict[str, Any]]:
    """Return the server of the tools."""
    listed = tools()
    inputs = {tool.name: tool.input_schema for tool in listed}

    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=listed)

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        if params.name not in inputs:
            raise MCPError(INVALID_PARAMS, f"the tools are {', '.join(inputs)}")
        try:
            reply = await call(context, params.name, params.arguments or {})
        except Exception as error:
            failure = explain(error, options)
            key, task_id = getattr(error, "key", None), getattr(error, "task_id", None)
            reply = _replies.failed(Facts(key, task_id, failure.charged), failure)
        return reply.result(await pictures.spent())

    async def call(context: Context, name: str, arguments: _arguments.Arguments) -> Reply:
        async def report(progress: float, message: str) -> None:
            await context.session.report_progress(progress, message=encodable(message))

        match name:
            case "generate_image":
                wanted = _arguments.read_call("generate", arguments, inputs[name])
                return await pictures.make(wanted, report)
            case "edit_image":
                wanted = _arguments.read_call("edit", arguments, inputs[name])
                return await pictures.make(wanted, report)
            case "get_task":
                return await pictures.resume(_arguments.read_task_id(arguments), report)
            case "list_tasks":
                return await pictures.newest(_arguments.read_limit(arguments))
            case _:
                return _replies.checked(_arguments.read_request(arguments, inputs[name]))

    return Server(
        "nano-banana",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
