"""The MCP Inspector's command line against the server. `make inspector` runs these tests.

`make test` does not, because npm downloads the Inspector.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mountsea_banana.mock import MockServer, Plan

PACKAGE = "@modelcontextprotocol/inspector@2.12.0"

pytestmark = pytest.mark.skipif(not shutil.which("npx"), reason="npm is not installed")


def inspect(server: MockServer, output: Path, method: str, *options: str) -> dict[str, Any]:
    """Return what the Inspector prints about a server that it starts."""
    configured = {
        "type": "stdio",
        "command": str(Path(sys.executable).with_name("nano-banana")),
        "args": ["mcp", "--output", str(output)],
        "env": {"MOUNTSEA_API_KEY": "test-token", "MOUNTSEA_BASE_URL": server.url},
    }
    config = output / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"nano-banana": configured}}))
    target = ["--config", str(config), "--server", "nano-banana", "--method", method]
    words = ["npx", "--yes", PACKAGE, "--cli", *target, *options]
    result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_the_inspector_lists_the_tools(banana_server: MockServer, tmp_path: Path) -> None:
    tools = inspect(banana_server, tmp_path, "tools/list")["tools"]
    assert "generate_image" in [tool["name"] for tool in tools]


def test_the_inspector_generates_an_image(banana_server: MockServer, tmp_path: Path) -> None:
    banana_server.plan = Plan(polls=1)
    options = ("--tool-name", "generate_image", "--tool-arg", "prompt=a cat")
    result = inspect(banana_server, tmp_path, "tools/call", *options)
    assert [each["type"] for each in result["content"]] == ["text", "image"]
    assert Path(result["structuredContent"]["path"]).is_file()
    assert banana_server.charged == 1
