"""The vendor's pages are taken whole, or not at all with one line that says why."""

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

SPEC = (ROOT / "openapi.yaml").read_text("utf-8")
SUBMIT, LOOK = "/gemini/image/generate", "/gemini/task/result"


def published() -> dict[str, Any]:
    return update_spec.load(SPEC, "openapi.yaml")


def page(path: str, change: Callable[[dict[str, Any]], object] = lambda document: None) -> str:
    """Return the page of one operation, as the vendor publishes it."""
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
    """Return what takes pages, given as text; it returns status, what was said, and the spec."""
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


def test_the_pages_of_what_there_is_change_no_byte_in_any_order(update: Update) -> None:
    for pages in itertools.permutations([page(SUBMIT), page(LOOK)]):
        assert update(*pages) == (0, "update-spec: nothing changed\n", SPEC)
    both = page(SUBMIT) + page(LOOK)
    windows = b"\xef\xbb\xbf" + both.replace("\n", "\r\n").encode()
    assert update(windows) == (0, "update-spec: nothing changed\n", SPEC)
    assert update(page(SUBMIT), prune=False)[2] == SPEC


def test_operations_that_no_page_mentions_go_where_that_is_asked_for(update: Update) -> None:
    status, said, spec = update(page(SUBMIT), prune=True)
    assert status == 0
    assert "removed: paths /gemini/task/result get" in said
    assert "removed: schemas TaskResultDto" in said
    assert list(yaml.safe_load(spec)["paths"]) == [SUBMIT]


def test_a_changed_shared_schema_is_taken_and_named(update: Update) -> None:
    def change(document: dict[str, Any]) -> None:
        document["components"]["schemas"]["NanoImageDto"]["properties"]["model"]["enum"].append("x")

    status, said, spec = update(page(SUBMIT, change))
    assert (status, said) == (0, "update-spec: changed: schemas NanoImageDto\n")
    assert "- nano-banana-2\n            - x\n" in spec


def test_an_operation_is_added_and_schemas_that_nothing_refers_to_go(update: Update) -> None:
    def change(document: dict[str, Any]) -> None:
        document["paths"]["/models"] = {"get": {"responses": {"200": {"description": "all"}}}}
        document["components"]["schemas"]["Orphan"] = {"type": "string"}

    status, said, spec = update(page(LOOK, change))
    assert (status, said) == (0, "update-spec: added: paths /models get\n")
    assert "Orphan" not in spec


def test_a_newer_version_is_taken_where_the_pages_cover_every_operation(update: Update) -> None:
    def newer(document: dict[str, Any]) -> None:
        document["info"]["version"] = "2.10.0"

    status, said, spec = update(page(SUBMIT, newer))
    assert status == 1
    assert "GET /gemini/task/result would stay at 2.0.0" in said
    assert spec == SPEC
    assert update(page(SUBMIT, newer), page(LOOK, newer))[0] == 0
    status, said, spec = update(page(SUBMIT), page(LOOK))
    assert "of version 2.0.0, and the spec is of 2.10.0 already" in said
    assert "version: 2.10.0" in spec


def test_scalars_that_the_versions_of_yaml_read_differently_are_quoted(update: Update) -> None:
    text = page(SUBMIT).replace(
        "- '21:9'", "- 21:9\n          - '1e3'\n          - no\n          - '0o7'"
    )
    status, said, spec = update(text)
    assert status == 0, said
    assert "- '21:9'\n            - '1e3'\n            - 'no'\n            - '0o7'\n" in spec
    assert update_spec.load(spec, "") == yaml.safe_load(spec)


def disagreement(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"]["bearerAuth"]["bearerFormat"] = "opaque"


def titled(document: dict[str, Any]) -> None:
    document["info"]["title"] = "Another"


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        (["# No block here"], "no fenced YAML block"),
        ([page(SUBMIT).rpartition("````")[0]], "is cut short: the fence of line 5 has no end"),
        ([page(SUBMIT)[:900] + "\n````\n"], "page-0.md"),
        (["```yaml\na: [\n```"], "holds no YAML that can be read"),
        (["```yaml\n- a\n```"], "holds no OpenAPI document but list"),
        (["```yaml\na: 1\n```"], "is no OpenAPI 3 document"),
        (["```yaml\nopenapi: 3.0.0\ninfo: {title: a}\n```"], "no title and version"),
        (["```yaml\nopenapi: 3.0.0\ninfo: {title: a, version: b}\npaths: {}\n```"], "no operation"),
        (
            [page(SUBMIT, lambda d: d["paths"][SUBMIT]["post"].pop("responses"))],
            "not valid OpenAPI",
        ),
        ([page(SUBMIT, lambda d: d["components"]["schemas"].clear())], "not valid OpenAPI"),
        ([page(SUBMIT, lambda d: d.update(components=5))], "not valid OpenAPI"),
        ([page(SUBMIT, titled)], "another API needs a spec of its own"),
        ([page(SUBMIT), page(LOOK, titled)], "disagree about info"),
        (
            [page(SUBMIT), page(LOOK, disagreement)],
            "disagree about components securitySchemes bearerAuth bearerFormat: 'JWT' and 'opaque'",
        ),
        (["```yaml\na: !!python/object:os.system x\n```"], "a tag in line 1"),
        ([f"```yaml\n{LAUGHS}```"], "an alias in line 2"),
        (["```yaml\na: " + "[" * 5000 + "]" * 5000 + "\n```"], "nested deeper than 100"),
        ([b"# \xff\xfe"], "is no UTF-8 text"),
        ([b"x" * 6_000_000], "is larger than 5 MB"),
    ],
)
def test_a_page_that_cannot_be_taken_leaves_the_spec_alone(
    update: Update, pages: list[str], said: str
) -> None:
    start = time.perf_counter()
    status, line, spec = update(*pages)
    assert (status, spec) == (1, SPEC)
    assert said in line
    assert line.count("\n") == 2
    assert time.perf_counter() - start < 5


def test_an_address_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "openapi.yaml"
    spec.write_text(SPEC)
    for address, said in (
        ("https://127.0.0.1:1/page.md", "cannot read https://127.0.0.1:1/page.md"),
        ("ftp://example.com/page.md", "neither a file nor an https:// address"),
        (str(tmp_path / "nowhere.md"), "No such file"),
    ):
        assert update_spec.main([address, "--spec", str(spec)]) == 1
        assert said in capsys.readouterr().err
