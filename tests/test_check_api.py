"""`check_api` asks for a major version if the public API breaks, and only then."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import griffe
import pytest

from scripts import check_api

ROOT = Path(__file__).parent.parent
CLIENT = "wrapper/mountsea_banana/client/_client.py"
RESULTS = "wrapper/mountsea_banana/client/_snapshots.py"
VERSION = "wrapper/mountsea_banana/_version.py"

# A file, a string in it, and its replacement.
Edit = tuple[str, str, str]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with all packages, whose only commit is release v1.4.2."""
    folder = tmp_path_factory.mktemp("project")
    for source in set(check_api.SOURCES.values()):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / source, folder / source, ignore=ignored)
    (folder / VERSION).write_text('__version__ = "1.4.2"\n')
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(griffe, "load_git", once(griffe.load_git))
        yield folder


def once(load: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that loads a package at a commit, which does not change, only once."""
    loaded: dict[tuple[str, str], Any] = {}

    def load_once(package: str, *, ref: str, **options: Any) -> Any:
        if (package, ref) not in loaded:
            loaded[package, ref] = load(package, ref=ref, **options)
        return loaded[package, ref]

    return load_once


@pytest.fixture
def project(release: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The repository of the release, for a test to change."""
    monkeypatch.setattr(check_api, "ROOT", release)
    git(release, "tag", "--force", "v1.4.2")
    yield release
    git(release, "checkout", "--quiet", ".")


def git(project: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    settings = dict.fromkeys(("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"), "/dev/null")
    command = ["git", *identity, *arguments]
    return subprocess.check_output(command, cwd=project, env={**os.environ, **settings}, text=True)


def change(project: Path, *edits: Edit) -> None:
    for name, old, new in edits:
        text = (project / name).read_text("utf-8")
        assert old in text
        (project / name).write_text(text.replace(old, new), "utf-8")


BREAKING: list[tuple[str, list[Edit], str]] = [
    (
        "a parameter is removed",
        [(CLIENT, "        max_retries: int = 2,\n", "")],
        "NanoBanana.__init__(max_retries): Parameter was removed",
    ),
    (
        "a parameter becomes required",
        [("wrapper/mountsea_banana/client/_tasks.py", "timeout: float = 600,", "timeout: float,")],
        "Task.wait(timeout): Parameter is now required",
    ),
    (
        "a function is renamed",
        [
            ("wrapper/mountsea_banana/rules/_check.py", "def check_request(", "def check("),
            ("wrapper/mountsea_banana/__init__.py", "check_request", "check"),
        ],
        "breaking: wrapper/mountsea_banana/__init__.py: check_request: Public object was removed",
    ),
    (
        "an inherited property is removed",
        [(RESULTS, "def trace_id(", "def trace(")],
        "TaskResult.trace_id: Public object was removed",
    ),
    (
        "a method of a lazily imported class is removed",
        [("wrapper/mountsea_banana/client/_async_client.py", "def aclose(", "def close(")],
        "AsyncNanoBanana.aclose: Public object was removed",
    ),
    (
        "a name in the mock is removed",
        [("wrapper/mountsea_banana/mock/__init__.py", "MockServer", "Mock")],
        "mock/__init__.py: MockServer: Public object was removed",
    ),
    (
        "a name in the contract is removed",
        [("wrapper/mountsea_banana/contract/_schemas.py", "def problems(", "def errors(")],
        "Schema.problems: Public object was removed",
    ),
    (
        "a generated field is removed",
        [("generated_client/mountsea_api/models/task_id_dto.py", "task_id: str", "id_: str")],
        "TaskIdDto.task_id: Public object was removed",
    ),
]


@pytest.mark.parametrize(
    ("edits", "message"), [pytest.param(*each[1:], id=each[0]) for each in BREAKING]
)
def test_a_breaking_change_is_listed_and_needs_a_major_version(
    project: Path, capsys: pytest.CaptureFixture[str], edits: list[Edit], message: str
) -> None:
    change(project, *edits)
    assert check_api.main([]) == 1
    *found, verdict = capsys.readouterr().out.splitlines()
    assert any(message in line for line in found), found
    assert all(line.startswith("breaking: ") for line in found)
    assert verdict == (
        "check-api: breaking changes since v1.4.2 need version 2.0.0 or higher: raise _version.py, "
        "which has 1.4.2"
    )


def test_a_major_release_may_break(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(project, (RESULTS, "def trace_id(", "def trace("), (VERSION, "1.4.2", "2.0.0"))
    assert check_api.main([]) == 0
    assert "TaskResult.trace_id: Public object was removed" in (output := capsys.readouterr().out)
    assert output.endswith("since v1.4.2 are allowed: 2.0.0 is a major release\n")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param(
            CLIENT,
            "        max_retries: int = 2,\n",
            "        max_retries: int = 2,\n        proxy: str | None = None,\n",
            id="an optional parameter is added",
        ),
        pytest.param(
            RESULTS,
            "    @property\n    def is_final(",
            "    def refresh(self) -> None: ...\n\n    @property\n    def is_final(",
            id="a method is added",
        ),
        pytest.param(
            "wrapper/mountsea_banana/client/_downloads.py",
            "def download(",
            "def fetch(",
            id="a private module changes",
        ),
        pytest.param(CLIENT, "def _submit(", "def _send(", id="a private method is removed"),
        pytest.param(
            "wrapper/mountsea_banana/harness/__main__.py",
            "SEED",
            "FIRST",
            id="a module of a command changes",
        ),
    ],
)
def test_other_changes_are_not_breaking(
    project: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str
) -> None:
    change(project, (name, old, new))
    assert check_api.main([]) == 0
    assert capsys.readouterr().out == "check-api: no breaking changes since v1.4.2\n"


def test_without_a_tag_the_check_passes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(project, "tag", "--delete", "v1.4.2")
    assert check_api.main([]) == 0
    assert capsys.readouterr().out == ("check-api: no release tag yet; nothing to compare\n")


@pytest.mark.parametrize("reference", ["nowhere", "--all"])
def test_an_unknown_reference_prints_one_line_and_exits_with_2(
    project: Path, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    assert check_api.main([f"--against={reference}"]) == 2
    assert capsys.readouterr().err == (
        f"check-api: {reference!r} is not a tag or commit of this repository: `git tag` lists the "
        "tags\n"
    )


def test_a_commit_without_the_packages_prints_one_line_and_exits_with_2(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # the id of git's empty tree
    commit = git(project, "commit-tree", empty, "-m", "nothing").strip()
    assert check_api.main(["--against", commit]) == 2
    stderr = capsys.readouterr().err
    assert f"cannot load mountsea_banana at {commit}: " in stderr
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("version", "needed"), [("0.1.0", "0.2.0"), ("0.9.7", "0.10.0"), ("1.4.2rc1", "2.0.0")]
)
def test_before_1_0_0_a_breaking_change_raises_the_second_number(version: str, needed: str) -> None:
    assert check_api.next_major(version) == needed
