"""Updating the spec from the vendor's pages is atomic, and errors name the page and the reason."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import update_spec

ROOT = Path(__file__).parent.parent

# A spec that the vendor has once published, so that its next one changes no test.
SPEC = (ROOT / "tests/published.openapi.yaml").read_text("utf-8")
SUBMIT, RESULT = "/gemini/image/generate", "/gemini/task/result"


def published() -> dict[str, Any]:
    return update_spec.load(SPEC, "openapi.yaml")


def page(path: str, change: Callable[[dict[str, Any]], object] = lambda document: None) -> str:
    """Return the Markdown page of one operation, in the vendor's format."""
    document = copy.deepcopy(published())
    document["paths"] = {path: document["paths"][path]}
    used = ("NanoImageDto", "TaskIdDto") if path == SUBMIT else ("TaskResultDto",)
    schemas = document["components"]["schemas"]
    document["components"]["schemas"] = {name: schemas[name] for name in used}
    change(document)
    block = yaml.safe_dump(document, sort_keys=False)
    return f"# A page\n\n> Some prose.\n\n````yaml POST {path}\n{block}````\n\nMore prose.\n"


@pytest.fixture
def update(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the update with pages, given as text.

    The function returns the exit code, the output and the spec.
    """
    spec = tmp_path / "openapi.yaml"
    spec.write_text(SPEC, "utf-8")
    numbers = itertools.count()

    def run(*pages: str | bytes, prune: bool = False) -> tuple[int, str, str]:
        paths = []
        for text in pages:
            paths.append(tmp_path / f"page-{next(numbers)}.md")
            paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
        arguments = [*map(str, paths), "--spec", str(spec), *["--prune"] * prune]
        status = update_spec.main(arguments)
        captured = capsys.readouterr()
        assert not list(tmp_path.glob(".*"))
        return status, captured.out + captured.err, spec.read_text("utf-8")

    return run


Update = Callable[..., tuple[int, str, str]]


def test_unchanged_pages_leave_the_spec_unchanged_in_any_order(update: Update) -> None:
    for pages in itertools.permutations([page(SUBMIT), page(RESULT)]):
        assert update(*pages) == (0, "update-spec: no changes\n", SPEC)
    both = page(SUBMIT) + page(RESULT)
    windows = b"\xef\xbb\xbf" + both.replace("\n", "\r\n").encode()
    assert update(windows) == (0, "update-spec: no changes\n", SPEC)
    assert update(page(SUBMIT), prune=False)[2] == SPEC


def test_prune_removes_the_operations_that_no_page_mentions(update: Update) -> None:
    status, output, spec = update(page(SUBMIT), prune=True)
    assert status == 0
    assert "removed: paths /gemini/task/result get" in output
    assert "removed: schemas TaskResultDto" in output
    assert list(yaml.safe_load(spec)["paths"]) == [SUBMIT]


def test_a_changed_schema_is_updated_and_reported(update: Update) -> None:
    def change(document: dict[str, Any]) -> None:
        document["components"]["schemas"]["NanoImageDto"]["properties"]["model"]["enum"].append("x")

    status, output, spec = update(page(SUBMIT, change))
    assert (status, output) == (0, "update-spec: changed: schemas NanoImageDto\n")
    assert "- nano-banana-2\n            - x\n" in spec


def test_a_new_operation_is_added_without_unused_schemas(update: Update) -> None:
    def change(document: dict[str, Any]) -> None:
        document["paths"]["/models"] = {"get": {"responses": {"200": {"description": "all"}}}}
        document["components"]["schemas"]["Orphan"] = {"type": "string"}

    status, output, spec = update(page(RESULT, change))
    assert (status, output) == (0, "update-spec: added: paths /models get\n")
    assert "Orphan" not in spec


def test_a_new_version_needs_the_pages_of_every_operation(update: Update) -> None:
    def newer(document: dict[str, Any]) -> None:
        document["info"]["version"] = "2.10.0"

    status, output, spec = update(page(SUBMIT, newer))
    assert status == 1
    assert "GET /gemini/task/result would stay at 2.0.0" in output
    assert spec == SPEC
    assert update(page(SUBMIT, newer), page(RESULT, newer))[0] == 0
    status, output, spec = update(page(SUBMIT), page(RESULT))
    assert "the pages have version 2.0.0, but the spec already has 2.10.0" in output
    assert "version: 2.10.0" in spec


def test_strings_that_yaml_versions_read_differently_are_quoted(update: Update) -> None:
    text = page(SUBMIT).replace(
        "- '21:9'", "- 21:9\n          - '1e3'\n          - no\n          - '0o7'"
    )
    status, output, spec = update(text)
    assert status == 0, output
    assert "- '21:9'\n            - '1e3'\n            - 'no'\n            - '0o7'\n" in spec
    assert update_spec.load(spec, "") == yaml.safe_load(spec)


def with_other_format(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"]["bearerAuth"]["bearerFormat"] = "opaque"


def with_other_title(document: dict[str, Any]) -> None:
    document["info"]["title"] = "Another"


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        (["# No block here"], "no fenced YAML block"),
        (
            [page(SUBMIT).rpartition("````")[0]],
            "is truncated: the code fence on line 5 is never closed",
        ),
        ([page(SUBMIT)[:900] + "\n````\n"], "page-0.md"),
        (["```yaml\na: [\n```"], "has invalid YAML"),
        (["```yaml\n- a\n```"], "an OpenAPI document must be a mapping, not list"),
        (["```yaml\na: 1\n```"], "is not an OpenAPI 3 document"),
        (["```yaml\nopenapi: 3.0.0\ninfo: {title: a}\n```"], "needs a title and a version"),
        (["```yaml\nopenapi: 3.0.0\ninfo: {title: a, version: b}\npaths: {}\n```"], "no operation"),
        (
            [page(SUBMIT, lambda d: d["paths"][SUBMIT]["post"].pop("responses"))],
            "not valid OpenAPI",
        ),
        ([page(SUBMIT, lambda d: d["components"]["schemas"].clear())], "not valid OpenAPI"),
        ([page(SUBMIT, lambda d: d.update(components=5))], "not valid OpenAPI"),
        ([page(SUBMIT, with_other_title)], "use a separate spec for another API"),
        ([page(SUBMIT), page(RESULT, with_other_title)], "disagree about info"),
        (
            [page(SUBMIT), page(RESULT, with_other_format)],
            "disagree about components securitySchemes bearerAuth bearerFormat: 'JWT' and 'opaque'",
        ),
        (
            ["```yaml\na: !!python/object:os.system x\n```"],
            "YAML tags are not supported, but line 1 has one",
        ),
        ([f"```yaml\n{LAUGHS}```"], "YAML aliases are not supported, but line 2 has one"),
        (["```yaml\na: " + "[" * 5000 + "]" * 5000 + "\n```"], "nested more than 100 levels deep"),
        ([b"# \xff\xfe"], "is not UTF-8 text"),
        ([b"x" * 6_000_000], "is larger than 5 MB"),
    ],
)
def test_an_unusable_page_leaves_the_spec_unchanged(
    update: Update, pages: list[str], message: str
) -> None:
    start = time.process_time()
    status, output, spec = update(*pages)
    assert (status, spec) == (1, SPEC)
    assert message in output
    assert output.count("\n") == 2
    assert time.process_time() - start < 5


def test_an_unreadable_page_prints_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "openapi.yaml"
    spec.write_text(SPEC)
    for url, message in (
        ("https://127.0.0.1:1/page.md", "cannot read https://127.0.0.1:1/page.md"),
        ("ftp://example.com/page.md", "neither a file nor an https:// URL"),
        (str(tmp_path / "nowhere.md"), "No such file"),
    ):
        assert update_spec.main([url, "--spec", str(spec)]) == 1
        assert message in capsys.readouterr().err
