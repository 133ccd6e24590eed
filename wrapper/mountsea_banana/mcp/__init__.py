"""An MCP server for agents, started with `nano-banana mcp`, that pays for each picture once.

Needs the `mcp` extra.
"""
