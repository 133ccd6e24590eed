"""The check of the public names says when a release must be major, and raises no other alarm."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import check_api

ROOT = Path(__file__).parent.parent
CLIENT = "wrapper/mountsea_banana/client/_client.py"
RESULTS = "wrapper/mountsea_banana/client/_snapshots.py"
VERSION = "wrapper/mountsea_banana/_version.py"

# A file, a text in it, and what stands there afterwards.
Edit = tuple[str, str, str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of both packages, whose only commit is the release v1.4.2."""
    for source in set(check_api.SOURCES.values()):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / source, tmp_path / source, ignore=ignored)
    (tmp_path / VERSION).write_text('__version__ = "1.4.2"\n')
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    for command in (
        "init --quiet",
        "add --all",
        "commit --quiet --message release",
        "tag v1.4.2",
    ):
        git(tmp_path, *command.split())
    monkeypatch.setattr(check_api, "ROOT", tmp_path)
    return tmp_path


def git(project: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    return subprocess.check_output(["git", *identity, *arguments], cwd=project, text=True)


def change(project: Path, *edits: Edit) -> None:
    for name, old, new in edits:
        text = (project / name).read_text("utf-8")
        assert old in text
        (project / name).write_text(text.replace(old, new), "utf-8")


BREAKING: list[tuple[str, list[Edit], str]] = [
    (
        "a parameter goes",
        [(CLIENT, "        max_retries: int = 2,\n", "")],
        "NanoBanana.__init__(max_retries): Parameter was removed",
    ),
    (
        "a parameter is required",
        [(CLIENT, "timeout: float = 600,", "timeout: float,")],
        "Task.wait(timeout): Parameter is now required",
    ),
    (
        "a function is renamed",
        [
            ("wrapper/mountsea_banana/rules/_rules.py", "def check_request(", "def check("),
            ("wrapper/mountsea_banana/__init__.py", "check_request", "check"),
        ],
        "breaking: wrapper/mountsea_banana/__init__.py: check_request: Public object was removed",
    ),
    (
        "an inherited property goes",
        [(RESULTS, "def trace_id(", "def trace(")],
        "TaskResult.trace_id: Public object was removed",
    ),
    (
        "a method of the client that is imported late goes",
        [("wrapper/mountsea_banana/client/_async_client.py", "def aclose(", "def close(")],
        "AsyncNanoBanana.aclose: Public object was removed",
    ),
    (
        "a name of the mock goes",
        [("wrapper/mountsea_banana/mock/__init__.py", "MockServer", "Mock")],
        "mock/__init__.py: MockServer: Public object was removed",
    ),
    (
        "a name of the contract goes",
        [("wrapper/mountsea_banana/contract/_contract.py", "def problems(", "def mistakes(")],
        "Schema.problems: Public object was removed",
    ),
    (
        "a generated field goes",
        [("generated_client/mountsea_api/models/task_id_dto.py", "task_id: str", "id_: str")],
        "TaskIdDto.task_id: Public object was removed",
    ),
]


@pytest.mark.parametrize(
    ("edits", "said"), [pytest.param(*each[1:], id=each[0]) for each in BREAKING]
)
def test_what_breaks_is_named_and_the_version_must_be_raised(
    project: Path, capsys: pytest.CaptureFixture[str], edits: list[Edit], said: str
) -> None:
    change(project, *edits)
    assert check_api.main([]) == 1
    *found, verdict = capsys.readouterr().out.splitlines()
    assert any(said in line for line in found), found
    assert all(line.startswith("breaking: ") for line in found)
    assert verdict == (
        "check-api: the release after v1.4.2 must be major: 2.0.0, and _version.py says 1.4.2"
    )


def test_a_major_release_may_break(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(project, (RESULTS, "def trace_id(", "def trace("), (VERSION, "1.4.2", "2.0.0"))
    assert check_api.main([]) == 0
    assert "TaskResult.trace_id: Public object was removed" in (said := capsys.readouterr().out)
    assert said.endswith("these break since v1.4.2, and 2.0.0 is a major release: go ahead\n")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param(
            CLIENT,
            "        max_retries: int = 2,\n",
            "        max_retries: int = 2,\n        proxy: str | None = None,\n",
            id="an optional parameter comes",
        ),
        pytest.param(
            RESULTS,
            "    @property\n    def is_final(",
            "    def look(self) -> None: ...\n\n    @property\n    def is_final(",
            id="a method comes",
        ),
        pytest.param(
            "wrapper/mountsea_banana/client/_downloads.py",
            "def write(",
            "def keep(",
            id="a private module changes",
        ),
        pytest.param(CLIENT, "def _download(", "def _load(", id="a private method goes"),
        pytest.param(
            "wrapper/mountsea_banana/harness/__main__.py",
            "SEED",
            "FIRST",
            id="a command changes inside",
        ),
    ],
)
def test_what_nobody_imports_is_free_to_change(
    project: Path, capsys: pytest.CaptureFixture[str], name: str, old: str, new: str
) -> None:
    change(project, (name, old, new))
    assert check_api.main([]) == 0
    assert capsys.readouterr().out == "check-api: nothing breaks since v1.4.2\n"


def test_without_a_tag_there_is_nothing_to_compare_with(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    git(project, "tag", "--delete", "v1.4.2")
    assert check_api.main([]) == 0
    assert capsys.readouterr().out == (
        "check-api: there is no release tag yet, so nothing to compare with\n"
    )


@pytest.mark.parametrize("reference", ["nowhere", "--all"])
def test_a_reference_that_is_none_is_2_and_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    assert check_api.main([f"--against={reference}"]) == 2
    assert capsys.readouterr().err == (
        f"check-api: {reference!r} is no tag or commit of this repository\n"
    )


def test_a_commit_without_the_packages_is_2_and_one_line(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's name of a tree without files
    made = git(project, "commit-tree", empty, "-m", "nothing").strip()
    assert check_api.main(["--against", made]) == 2
    said = capsys.readouterr().err
    assert f"{made} has no mountsea_banana that can be read" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("version", "needed"), [("0.1.0", "0.2.0"), ("0.9.7", "0.10.0"), ("1.4.2rc1", "2.0.0")]
)
def test_before_1_0_0_the_second_number_tells_of_a_break(version: str, needed: str) -> None:
    assert check_api.next_major(version) == needed
