"""The container image runs the mock. These tests run its commands without a container."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from mountsea_banana.mock import MockServer

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "compose.yaml").read_text("utf-8"))


def command(instruction: str) -> list[str]:
    """Return a command of the Dockerfile, to be run by this interpreter."""
    found = re.search(rf"{instruction} (\[.*\])", DOCKERFILE)
    assert found
    python, *arguments = json.loads(found[1])
    assert python == "python"
    return [sys.executable, *arguments]


def test_the_image_serves_the_mock_to_other_containers() -> None:
    arguments = [*command("ENTRYPOINT"), "--host", "127.0.0.1", "--port", "0"]
    assert "0.0.0.0" in arguments  # noqa: S104 - other containers must reach it
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("mock: serving at http://127.0.0.1:")
        process.terminate()
        process.stdout.read()


def test_the_health_check_fails_unless_the_mock_serves(banana_server: MockServer) -> None:
    *python, code = command("CMD")
    for url, status in ((banana_server.url, 0), ("http://127.0.0.1:1", 1)):
        here = code.replace("http://127.0.0.1:8000", url)
        assert here != code
        assert (
            subprocess.run([*python, here], check=False, capture_output=True).returncode == status
        )


def test_the_build_context_contains_all_that_the_package_needs(tmp_path: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert ignored[0] == "*"
    for name in (each[1:] for each in ignored if each.startswith("!")):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    assert list((tmp_path / "dist").glob("*.whl"))


def test_the_image_has_an_unprivileged_user() -> None:
    assert re.search(r"^USER (?!root|0)", DOCKERFILE, re.M)


def test_the_compose_example_points_an_application_at_the_mock() -> None:
    mock, app = COMPOSE["services"]["mock"], COMPOSE["services"]["app"]
    assert (ROOT / "examples" / mock["build"] / "Dockerfile").is_file()
    assert mock["ports"] == ["127.0.0.1:8000:8000"]
    assert app["depends_on"] == {"mock": {"condition": "service_healthy"}}
    assert app["environment"] == {
        "MOUNTSEA_BASE_URL": "http://mock:8000",
        "MOUNTSEA_ALLOW_HTTP": "1",
        "MOUNTSEA_API_KEY": "test-token",
    }
