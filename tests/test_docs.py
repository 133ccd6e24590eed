"""Every Python and shell block in README.md and docs/ runs, and the site builds cleanly."""

from __future__ import annotations

import contextlib
import html
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import griffe
import mountsea_banana
import mountsea_banana.ledger
import mountsea_banana.mock
import pytest
from mountsea_banana.mock import MockServer, Plan
from mountsea_banana.rules import _rules

from scripts import record, reference

from .conftest import KEY, run_suite

PUBLIC = {name: getattr(mountsea_banana, name) for name in mountsea_banana.__all__}

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\S+)(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = ("python", "shell")
SHOWN = ("json", "text", "yaml")

# Replacements for commands that would build, install or use the network.
STUBS = {
    "make": f"exec {shutil.which('make')} --dry-run --directory '{ROOT}' \"$@\"",
    "docker": "",
    "pip": "",
    "git": "",
}


def blocks(language: str) -> list[object]:
    """Return all blocks in a language as test parameters, with ids such as `README.md:25`."""
    found: list[object] = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for fence in FENCE.finditer(text):
            if fence[1] == language and not fence[2]:
                line = text.count("\n", 0, fence.start()) + 1
                found.append(pytest.param(fence[3], id=f"{page.name}:{line}"))
    return found


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


@pytest.fixture
def _environment(
    banana_server: MockServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader's environment: a folder, an API key and a server whose tasks need one poll."""
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name, command in STUBS.items():
        (stubs / name).write_text(f"#!/bin/bash\n{command}\n")
        (stubs / name).chmod(0o755)
    path = [str(stubs), str(Path(sys.executable).parent), os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    monkeypatch.setenv("MOUNTSEA_API_KEY", KEY)
    monkeypatch.setenv("MOUNTSEA_BASE_URL", banana_server.url)
    monkeypatch.chdir(tmp_path)
    banana_server.plan = Plan(polls=1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_in_a_language_that_is_run_or_only_shown(page: Path) -> None:
    text = page.read_text("utf-8")
    kinds = [found[1] for found in FENCE.finditer(text)]
    assert len(re.findall(r"```", text)) == 2 * len(kinds)
    assert [kind for kind in kinds if kind not in RUN + SHOWN and kind[0] != "{"] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_excerpt_of_an_example_is_what_the_example_has(page: Path) -> None:
    for fence in FENCE.finditer(page.read_text("utf-8")):
        if fence[1] in RUN and fence[2]:
            assert fence[3] in (ROOT / fence[2].strip()).read_text("utf-8")


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(block: str) -> None:
    if name := re.match(r"# (test_\w+\.py)\n", block):
        Path(name[1]).write_text(block, "utf-8")
        assert re.fullmatch(r"\d+ passed in .*", run_suite(name[1]))
    else:
        exec(compile(block, "block", "exec"), {"__name__": "__main__"})


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize("block", blocks("shell"))
def test_shell_blocks_run(block: str, banana_server: MockServer, tmp_path: Path) -> None:
    output = tmp_path / "output"
    script = block.replace("http://127.0.0.1:8000", banana_server.url).replace("8765", free_port())
    with (
        output.open("w") as file,
        subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):  # no process is left
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output.read_text("utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning"]
    subprocess.run([*command, str(ROOT / "docs"), str(folder)], check=True)
    return folder


def test_the_site_builds_without_warnings_and_lists_every_public_name(site: Path) -> None:
    words = set(re.findall(r"\w+", (site / "reference.html").read_text("utf-8")))
    packages = ("", ".batch", ".contract", ".ledger", ".mock")
    modules = [import_module(f"mountsea_banana{package}") for package in packages]
    assert {name for each in modules for name in each.__all__} <= words


def test_the_site_loads_nothing_from_the_network(site: Path) -> None:
    for page in site.glob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link)[^>]*(?:src|href)=\"(\S+)\"", page.read_text("utf-8")
        )
        assert [each for each in loaded if "//" in each] == []


def test_the_chinese_readme_is_in_step_with_the_english_one() -> None:
    english, chinese = (
        (ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh-CN.md")
    )
    for same in (FENCE, re.compile(r"^#+ ", re.MULTILINE), re.compile(r"\]\(((?!README)\S+)\)")):
        assert same.findall(chinese) == same.findall(english)
    assert set(re.findall(r"\d{2,}", english)) <= set(re.findall(r"\d{2,}", chinese))


def test_the_recording_shows_what_the_commands_print(tmp_path: Path) -> None:
    svg = (ROOT / "docs/images/recording.svg").read_text("utf-8")
    texts = re.findall(r'clip-path="url\(#recording-line-\d+\)">(.*?)</text>', svg)
    recorded = html.unescape(" ".join(texts)).split()
    assert recorded == " ".join(record.session(tmp_path)).split()


def test_the_table_of_rules_quotes_the_vendor() -> None:
    page = (ROOT / "docs" / "rules.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\S+)` \|.*\| (.*) \|$", page, re.MULTILINE)
    assert rows == [(rule.id, f'"{rule.sentence}"') for rule in _rules.RULES]


def test_the_errors_page_lists_every_error() -> None:
    page = (ROOT / "docs" / "errors-and-money.md").read_text("utf-8")
    errors = [
        kind.__name__
        for kind in PUBLIC.values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert [name for name in errors if f"`{name}`" not in page] == []


def public_parts(part: griffe.Object | griffe.Alias) -> Iterator[griffe.Object | griffe.Alias]:
    """Yield the public members of a module or class, including those of nested classes."""
    for each in (part.all_members if part.is_class else part.members).values():
        if each.is_public and not each.name.startswith("_"):
            yield each
            if each.is_class:
                yield from public_parts(each)


def test_the_reference_is_what_the_docstrings_generate() -> None:
    assert reference.main(["--check"]) == 0


@pytest.mark.parametrize("module", [*sorted({each.module for each in reference.SECTIONS})[:-1]])
def test_the_reference_has_every_public_name(module: str) -> None:
    listed = " ".join(each.names for each in reference.SECTIONS if each.module == module)
    names = {name.removesuffix("()") for name in listed.split()}
    assert names == {*import_module(module).__all__} - {"__version__"}


@pytest.mark.parametrize(
    "module",
    [
        "mountsea_banana",
        "mountsea_banana.contract",
        "mountsea_banana.mock",
        "pytest_mountsea_banana",
    ],
)
def test_every_public_name_has_a_docstring(module: str) -> None:
    parts = list(public_parts(griffe.load(module, search_paths=[ROOT / "wrapper"])))
    assert len(parts) > 3
    assert [part.path for part in parts if not part.docstring] == []
