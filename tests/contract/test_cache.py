"""What takes long to generate is kept for the next run, but never needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from mountsea_banana.harness import _cache
from mountsea_banana.harness._cache import cached


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache"
    monkeypatch.setattr(_cache, "user_cache_path", lambda *_, **__: path)
    return path


def never() -> list[object]:
    raise AssertionError("generated again")


@pytest.mark.usefixtures("folder")
def test_the_same_inputs_are_generated_once() -> None:
    values = [None, "\ud800", -0.0, {"a": [1e300]}]
    assert cached(lambda: values, {"seed": 1}) == values
    assert cached(never, {"seed": 1}) == values
    assert cached(lambda: ["other"], {"seed": 2}) == ["other"]


def test_a_new_version_generates_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(lambda: ["old"])
    monkeypatch.setattr(_cache, "_VERSIONS", ("new",))
    assert cached(lambda: ["new"]) == ["new"]
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("content", ["", "[", "{}"])
def test_a_damaged_file_is_replaced(folder: Path, content: str) -> None:
    cached(lambda: ["old"])
    (path,) = folder.iterdir()
    path.write_text(content)
    assert cached(lambda: ["new"]) == ["new"]
    assert cached(never) == ["new"]


def test_a_folder_that_cannot_be_written_does_no_harm(folder: Path) -> None:
    folder.write_text("a file", encoding="utf-8")
    assert cached(lambda: [1]) == cached(lambda: [1]) == [1]
