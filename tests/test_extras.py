"""The package with one extra installed: its features work, and a missing extra is named."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import mountsea_banana
import pytest
from mountsea_banana import contract
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent

Result = subprocess.CompletedProcess[str]
Run = Callable[..., Result]


def required(project: str, extra: str, seen: set[str]) -> Iterator[Distribution]:
    """Yield each distribution that a project requires with an extra, once."""
    for text in distribution(project).requires or []:
        requirement = Requirement(text)
        is_wanted = not requirement.marker or requirement.marker.evaluate({"extra": extra})
        for inner in {"", *requirement.extras} if is_wanted else ():
            if f"{requirement.name}[{inner}]" not in seen:
                seen.add(f"{requirement.name}[{inner}]")
                if requirement.name != project:
                    yield distribution(requirement.name)
                yield from required(requirement.name, inner, seen)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Return a function that creates an environment with an extra and returns its Python runner."""

    def create(extra: str) -> Run:
        site = tmp_path_factory.mktemp("site")
        for each in required("mountsea-banana", extra, set()):
            tops = {file.parts[0] for file in each.files or [] if file.parts[0] != ".."}
            for top in tops - {"__pycache__"}:
                link = site / top
                if not link.exists():
                    link.symlink_to(str(each.locate_file(top)))
        path = [site, ROOT / "wrapper", ROOT / "generated_client"]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}

        def run(*arguments: str) -> Result:
            command = [sys.executable, "-S", *arguments]
            return subprocess.run(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )

        return run

    return create


COMMANDS = {
    "mock": ("-m", "mountsea_banana.mock", "--port", "99999"),
    "contract": ("-m", "mountsea_banana.harness", "--base-url", "nowhere"),
    "cli": ("-c", "import sys; from mountsea_banana.cli import main; sys.exit(main(['rules']))"),
}
OUTPUTS = {
    "mock": "mock: cannot serve at 127.0.0.1:99999",
    "contract": "contract: cannot test: --base-url must be an http:// or https:// URL",
    "cli": "edit-needs-image-urls",
}


def test_the_client_works_without_extras(environment: Callable[[str], Run]) -> None:
    code = (
        "import mountsea_banana as api, mountsea_api.models\n"
        "api.AsyncNanoBanana('key')\n"
        "with api.NanoBanana('key', base_url='http://127.0.0.1:1', max_retries=0) as banana:\n"
        "    print(api.check_request({'action': 'edit', 'prompt': 'x'})[0].rule)\n"
        "    try: banana.generate('a cat')\n"
        "    except api.APIConnectionError as error: print(error)\n"
    )
    result = environment("")("-W", "error", "-c", code)
    assert result.stderr == ""
    assert re.match("edit-needs-image-urls\nthe request was not sent", result.stdout)


@pytest.mark.parametrize("extra", ["", "cli", "mock", "contract"])
def test_an_extra_enables_its_command_and_a_missing_one_is_named(
    environment: Callable[[str], Run], extra: str
) -> None:
    run = environment(extra)
    # schemathesis itself requires the libraries of the command line.
    available = {"contract", "mock", "cli"} if extra == "contract" else {extra}
    for name, arguments in COMMANDS.items():
        result = run(*arguments)
        output = result.stdout + result.stderr
        assert "Traceback" not in output
        if name in available:
            assert OUTPUTS[name] in output
        else:
            assert result.returncode == 2
            assert re.search(rf"\w+ is missing: pip install 'mountsea-banana\[{name}\]'$", output)


def test_the_server_for_agents_needs_its_own_extra(
    environment: Callable[[str], Run], tmp_path: Path
) -> None:
    code = "import sys; from mountsea_banana.cli import main; sys.exit(main())"
    command = ("-c", code, "mcp", "--output", str(tmp_path))
    missing = environment("cli")(*command)
    assert missing.returncode == 2
    assert "mcp is missing: pip install 'mountsea-banana[mcp]'" in missing.stderr
    complete = environment("mcp")(*command)
    assert complete.returncode == 0, complete.stderr


@pytest.mark.parametrize("module", ["mountsea_banana.contract", "mountsea_banana.mock"])
def test_an_import_without_its_extra_names_the_extra(
    environment: Callable[[str], Run], module: str
) -> None:
    result = environment("")("-c", f"from {module} import *")
    assert result.stderr.endswith("is missing: pip install 'mountsea-banana[mock]'\n")


def test_the_import_loads_no_extra_and_no_event_loop() -> None:
    modules = "('asyncio', 'yaml', 'jsonschema_rs', 'starlette', 'uvicorn', 'PIL')"
    names = f"[name for name in {modules} if name in sys.modules]"
    code = f"import sys; from mountsea_banana import NanoBanana; print({names})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_public_names_are_imported_on_demand() -> None:
    assert mountsea_banana.AsyncNanoBanana.__name__ == "AsyncNanoBanana"
    assert all(hasattr(mountsea_banana, name) for name in mountsea_banana.__all__)
    with pytest.raises(AttributeError, match="no attribute 'NanoOrange'"):
        getattr(mountsea_banana, "NanoOrange")  # noqa: B009


def test_the_contract_without_its_libraries_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for name in [name for name in sys.modules if name.startswith(contract.__name__)]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match=r"yaml is missing: pip install .*\[mock\]"):
        importlib.import_module(contract.__name__)
