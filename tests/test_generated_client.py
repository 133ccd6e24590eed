"""The committed client matches the spec, and the check reports any difference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts import generate, generate_sync

ROOT = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the generator's input and output, which the script works on."""
    for name in ("openapi.yaml", "generator-config.yml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "generated_client", tmp_path / "generated_client")
    for name in ("ROOT", "SPEC", "CONFIG", "CLIENT"):
        copied = tmp_path / getattr(generate, name).relative_to(ROOT)
        monkeypatch.setattr(generate, name, copied)
    return tmp_path


def tree(project: Path) -> dict[str, bytes]:
    folder = project / "generated_client"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_committed_client_matches_the_spec(project: Path) -> None:
    assert generate.main(["--check"]) == 0


def test_the_check_names_every_file_that_differs(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client = project / "generated_client" / "mountsea_api"
    (client / "types.py").write_text("edited = True\n")
    (client / "stray.py").write_text("")
    (client / "py.typed").unlink()
    assert generate.main(["--check"]) == 1
    output = capsys.readouterr().out
    for name in ("types.py", "stray.py", "py.typed"):
        assert name in output


def test_a_changed_spec_fails_the_check_until_the_client_is_regenerated(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = project / "openapi.yaml"
    spec.write_text(spec.read_text("utf-8").replace("- 4K", "- 4K\n            - 9K"))
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    assert "compatible: POST /gemini/image/generate request.resolution: value 9K added" in (
        capsys.readouterr().out
    )
    assert b'"9K"' in tree(project)["mountsea_api/models/nano_image_dto_resolution.py"]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("openapi.yaml", "paths:", "pathz:", "not valid OpenAPI"),
        ("openapi.yaml", "openapi: 3.0.0", "openapi: [", "cannot read openapi.yaml"),
        (
            "openapi.yaml",
            "application/json:",
            "application/x-odd:",
            "the generator failed on openapi.yaml",
        ),
        ("generator-config.yml", "literal_enums", "litteral_enums", "unknown key litteral_enums"),
    ],
)
def test_invalid_input_leaves_the_client_unchanged_and_prints_the_reason(
    project: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str, message: str
) -> None:
    path = project / name
    path.write_text(path.read_text("utf-8").replace(old, new))
    before = tree(project)
    assert generate.main([]) == 2
    assert message in capsys.readouterr().err
    assert tree(project) == before


def test_the_synchronous_client_is_what_the_asynchronous_one_generates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / generate_sync.PACKAGE
    shutil.copytree(generate_sync.ROOT / generate_sync.PACKAGE, package)
    shutil.copy(generate_sync.ROOT / "pyproject.toml", tmp_path)
    monkeypatch.setattr(generate_sync, "ROOT", tmp_path)
    assert generate_sync.main(["--check"]) == 0
    edited = package / "client" / "_tasks.py"
    edited.write_text(edited.read_text("utf-8") + "\n")
    assert generate_sync.main(["--check"]) == 1
    assert "client/_tasks.py doesn't match its source" in capsys.readouterr().out
    assert generate_sync.main([]) == 0
    assert generate_sync.main(["--check"]) == 0
