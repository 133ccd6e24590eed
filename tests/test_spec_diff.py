"""What a change of the spec means, over a table of edits in every class."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import spec_diff
from tests import drift

ROOT = Path(__file__).parent.parent
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
SUBMIT, LOOK = "/gemini/image/generate", "/gemini/task/result"

Edit = Callable[[dict[str, Any]], object]


def schema(document: dict[str, Any], name: str) -> Any:
    return document["components"]["schemas"][name]


def field(document: dict[str, Any], name: str, of: str = "NanoImageDto") -> Any:
    return schema(document, of)["properties"][name]


def rename(document: dict[str, Any], old: str, new: str) -> None:
    text = yaml.safe_dump(document).replace(old, new)
    document.clear()
    document.update(yaml.safe_load(text))


def post(document: dict[str, Any]) -> Any:
    return document["paths"][SUBMIT]["post"]


EDITS: list[tuple[str, Edit, str, str]] = [
    ("an operation goes", lambda d: d["paths"].pop(LOOK), "breaking", "the operation is gone"),
    (
        "an operation comes",
        lambda d: d["paths"].update({"/m": {"get": {"responses": {"200": {"description": ""}}}}}),
        "compatible",
        "GET /m: the operation is new",
    ),
    (
        "a method changes",
        lambda d: d["paths"][SUBMIT].update(put=d["paths"][SUBMIT].pop("post")),
        "breaking",
        "POST /gemini/image/generate: the operation is gone",
    ),
    (
        "a path changes",
        lambda d: d["paths"].update({"/v2/image": d["paths"].pop(SUBMIT)}),
        "breaking",
        "the operation is gone",
    ),
    (
        "the success status changes",
        lambda d: post(d)["responses"].update({"202": post(d)["responses"].pop("201")}),
        "breaking",
        "the success is no longer 201",
    ),
    (
        "a success is added",
        lambda d: post(d)["responses"].update({"202": {"description": ""}}),
        "risky",
        "a success may be 202 now",
    ),
    (
        "the server changes",
        lambda d: d["servers"][0].update(url="https://new.example"),
        "risky",
        "servers: https://api.mountsea.ai became https://new.example",
    ),
    ("security goes", lambda d: post(d).pop("security"), "compatible", "no key is needed any more"),
    (
        "the key goes elsewhere",
        lambda d: d["components"]["securitySchemes"].update(
            bearerAuth={"type": "apiKey", "in": "query", "name": "key"}
        ),
        "breaking",
        "the key is another, or goes elsewhere",
    ),
    (
        "an operation has a server of its own",
        lambda d: d["paths"][SUBMIT].update(servers=[{"url": "https://new.example"}]),
        "risky",
        "POST /gemini/image/generate: the servers of its own changed",
    ),
    (
        "an operation is deprecated",
        lambda d: post(d).update(deprecated=True),
        "risky",
        "the operation is deprecated now",
    ),
    (
        "the media type changes",
        lambda d: post(d)["requestBody"]["content"].update(
            {"text/plain": post(d)["requestBody"]["content"].pop("application/json")}
        ),
        "breaking",
        "application/json is gone",
    ),
    (
        "a field goes",
        lambda d: schema(d, "NanoImageDto")["properties"].pop("resolution"),
        "breaking",
        "request.resolution: the property is gone",
    ),
    (
        "an optional field comes",
        lambda d: schema(d, "NanoImageDto")["properties"].update(seed={"type": "integer"}),
        "compatible",
        "request.seed: the property is new",
    ),
    (
        "a required field comes",
        lambda d: (
            schema(d, "NanoImageDto")["properties"].update(seed={"type": "integer"}),
            schema(d, "NanoImageDto")["required"].append("seed"),
        ),
        "breaking",
        "request.seed: the property is new and required",
    ),
    (
        "a field is required",
        lambda d: schema(d, "NanoImageDto")["required"].append("model"),
        "breaking",
        "request.model: the property is required now",
    ),
    (
        "a field is optional",
        lambda d: schema(d, "NanoImageDto")["required"].remove("action"),
        "compatible",
        "request.action: the property may be absent now",
    ),
    (
        "a type changes",
        lambda d: field(d, "num_images").update(type="boolean", default=True),
        "breaking",
        "the type number became boolean",
    ),
    (
        "a limit comes",
        lambda d: field(d, "prompt").update(maxLength=1000),
        "breaking",
        "maxLength was not given and is 1000",
    ),
    (
        "a pattern comes",
        lambda d: field(d, "prompt").update(pattern="^a"),
        "breaking",
        "pattern was not given",
    ),
    (
        "a format goes",
        lambda d: field(d, "image_urls")["items"].pop("format"),
        "compatible",
        "format was uri and is not given",
    ),
    (
        "a value goes",
        lambda d: field(d, "model")["enum"].remove("nano-banana-pro"),
        "breaking",
        "request.model: the value nano-banana-pro is gone",
    ),
    (
        "a value comes",
        lambda d: field(d, "aspect_ratio")["enum"].append("2:1"),
        "compatible",
        "request.aspect_ratio: the value 2:1 is new",
    ),
    (
        "an enum comes",
        lambda d: field(d, "prompt").update(enum=["a"]),
        "breaking",
        "only a are allowed now",
    ),
    (
        "an enum goes",
        lambda d: field(d, "model").pop("enum"),
        "compatible",
        "any value may stand here now",
    ),
    (
        "a default changes",
        lambda d: field(d, "model").update(default="nano-banana-2"),
        "risky",
        "the default was nano-banana-fast and is nano-banana-2",
    ),
    (
        "words change",
        lambda d: field(d, "resolution").update(description="any"),
        "risky",
        "the description changed",
    ),
    (
        "a request may be null",
        lambda d: field(d, "model").update(nullable=True),
        "compatible",
        "it may be null now",
    ),
    (
        "an answer's field goes",
        lambda d: schema(d, "TaskResultDto")["properties"].pop("traceId"),
        "breaking",
        "200.traceId: the property is gone",
    ),
    (
        "an answer's field is optional",
        lambda d: schema(d, "TaskIdDto").pop("required"),
        "breaking",
        "201.taskId: the property may be absent now",
    ),
    (
        "an answer's type changes",
        lambda d: field(d, "taskId", "TaskIdDto").update(type="integer"),
        "breaking",
        "201.taskId: the type string became integer",
    ),
    (
        "an answer's value comes",
        lambda d: field(d, "status", "TaskResultDto")["enum"].append("paused"),
        "risky",
        "200.status: the value paused is new",
    ),
    (
        "an answer's value goes",
        lambda d: field(d, "status", "TaskResultDto")["enum"].remove("ready"),
        "compatible",
        "200.status: the value ready is gone",
    ),
    (
        "an answer is no longer null",
        lambda d: field(d, "result", "TaskResultDto").pop("nullable"),
        "compatible",
        "it may not be null any more",
    ),
    (
        "an answer has alternatives",
        lambda d: field(d, "traceId", "TaskResultDto").update(oneOf=[{}]),
        "risky",
        "oneOf changed, which this tool does not look into",
    ),
    (
        "a schema is renamed",
        lambda d: rename(d, "NanoImageDto", "ImageRequest"),
        "breaking",
        "the schema NanoImageDto became ImageRequest",
    ),
    (
        "an operationId changes",
        lambda d: post(d).update(operationId="generate"),
        "breaking",
        "the operationId ApiPublicController_nanoImage became generate",
    ),
    ("a tag changes", lambda d: post(d).update(tags=["x"]), "breaking", "the first tag changed"),
    (
        "an operation's words change",
        lambda d: post(d).update(description="x"),
        "risky",
        "the description changed",
    ),
    (
        "a parameter goes",
        lambda d: d["paths"][LOOK]["get"]["parameters"].clear(),
        "breaking",
        "query taskId: the parameter is gone",
    ),
    (
        "a parameter comes",
        lambda d: d["paths"][LOOK]["get"]["parameters"].append(
            {"name": "a", "in": "query", "schema": {"type": "string"}}
        ),
        "compatible",
        "query a: the parameter is new",
    ),
    (
        "a parameter is optional",
        lambda d: d["paths"][LOOK]["get"]["parameters"][0].update(required=False),
        "compatible",
        "the parameter is optional now",
    ),
    (
        "the version changes",
        lambda d: d["info"].update(version="2.1.0"),
        "compatible",
        "the version is now 2.1.0",
    ),
]


def changed(edit: Edit) -> dict[str, Any]:
    document = copy.deepcopy(SPEC)
    edit(document)
    return document


@pytest.mark.parametrize(
    ("edit", "level", "said"), [pytest.param(*each[1:], id=each[0]) for each in EDITS]
)
def test_an_edit_is_named_with_what_it_means(edit: Edit, level: str, said: str) -> None:
    lines = [str(change) for change in spec_diff.compare(SPEC, changed(edit))]
    matching = [line for line in lines if said in line]
    assert matching, lines
    assert all(line.startswith(f"{level}: ") for line in matching)
    assert matching == lines or level == "breaking" or "comes" in said or len(lines) <= 2


# What each edit leaves to a person; the others leave nothing.
UNDECIDED = {
    "an operation goes": ["GET /gemini/task/result is gone"],
    "an operation comes": ["GET /m is new"],
    "a method changes": [
        "PUT /gemini/image/generate is new",
        "POST /gemini/image/generate is gone",
    ],
    "a path changes": ["POST /v2/image is new", "POST /gemini/image/generate is gone"],
    "a field goes": [
        "resolution 1K, 2K, 4K is gone",
        "openapi.yaml no longer says 'The resolution of the image, only valid when",
    ],
    "a value goes": ["model nano-banana-pro is gone"],
    "a value comes": ["aspect_ratio 2:1 is new"],
    "an enum goes": ["model nano-banana-2, nano-banana-fast, nano-banana-pro is gone"],
    "a default changes": ["the default model is nano-banana-2"],
    "words change": ["openapi.yaml no longer says 'The resolution of the image, only valid when"],
    "an answer's value comes": ["the status paused is new"],
}


@pytest.mark.parametrize(
    ("name", "edit"),
    [pytest.param(*each[:2], id=each[0]) for each in EDITS if each[0] != "a schema is renamed"],
)
def test_an_edit_names_what_a_person_must_decide_and_no_more(name: str, edit: Edit) -> None:
    document = spec_diff.read(yaml.safe_dump(changed(edit)).encode(), "openapi.yaml")
    lines = drift.undecided(document)
    expected = UNDECIDED.get(name, [])
    assert len(lines) == len(expected), lines
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), lines


def test_a_renamed_schema_is_named_first() -> None:
    after = changed(lambda d: rename(d, "NanoImageDto", "ImageRequest"))
    assert drift.undecided(after)[0].startswith("the schema NanoImageDto is gone")


@pytest.mark.parametrize(
    ("edit", "level", "said"),
    [
        (lambda d: field(d, "prompt").pop("maxLength"), "compatible", "maxLength was 9"),
        (lambda d: field(d, "prompt").update(maxLength=8), "breaking", "maxLength was 9 and is 8"),
        (lambda d: field(d, "prompt").update(maxLength=10), "compatible", "maxLength was 9"),
        (lambda d: field(d, "prompt").update(minLength=2), "breaking", "minLength was 1 and is 2"),
        (lambda d: field(d, "prompt").update(pattern="b"), "breaking", "pattern was a and is b"),
        (lambda d: post(d).update(security=[{"bearerAuth": []}]), "breaking", "a key is needed"),
        (lambda d: post(d)["requestBody"].update(required=True), "breaking", "body is required"),
    ],
)
def test_a_limit_is_tightened_or_loosened(edit: Edit, level: str, said: str) -> None:
    base = copy.deepcopy(SPEC)
    field(base, "prompt").update(maxLength=9, minLength=1, pattern="a")
    post(base).update(security=[])
    post(base)["requestBody"].update(required=False)
    after = copy.deepcopy(base)
    edit(after)
    (change,) = spec_diff.compare(base, after)
    assert str(change).startswith(f"{level}: ")
    assert said in str(change)


@pytest.mark.parametrize("kind", ["parameters", "requestBodies", "responses"])
def test_a_part_that_moves_into_the_components_is_no_change(kind: str) -> None:
    after = copy.deepcopy(SPEC)
    holder, place = {
        "parameters": (after["paths"][LOOK]["get"]["parameters"], 0),
        "requestBodies": (post(after), "requestBody"),
        "responses": (post(after)["responses"], "201"),
    }[kind]
    after["components"][kind] = {"Moved": holder[place]}
    holder[place] = {"$ref": f"#/components/{kind}/Moved"}
    assert spec_diff.compare(SPEC, after) == []


def test_a_schema_that_holds_itself_is_compared_once() -> None:
    base = copy.deepcopy(SPEC)
    reference = {"$ref": "#/components/schemas/TaskResultDto"}
    schema(base, "TaskResultDto")["properties"]["parent"] = reference
    after = copy.deepcopy(base)
    field(after, "status", "TaskResultDto")["enum"].append("queued")
    assert len(spec_diff.compare(base, after)) == 1


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Edit], tuple[str, str]]:
    """Return what writes the spec, and an edited one, into files; no oasdiff is on PATH."""
    folders = os.environ["PATH"].split(os.pathsep)
    without = [folder for folder in folders if not Path(folder, "oasdiff").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(without))

    def write(edit: Edit) -> tuple[str, str]:
        (tmp_path / "old.yaml").write_text(yaml.safe_dump(SPEC))
        (tmp_path / "new.yaml").write_text(yaml.safe_dump(changed(edit)))
        return str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")

    return write


def test_the_exit_status_says_whether_anything_breaks(
    files: Callable[[Edit], tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = files(lambda d: field(d, "model")["enum"].remove("nano-banana-pro"))
    assert spec_diff.main(["--base", old, "--spec", new]) == 1
    assert capsys.readouterr().out == (
        "breaking: POST /gemini/image/generate request.model: the value nano-banana-pro is gone\n"
    )
    assert spec_diff.main(["--base", new, "--spec", old, "--format", "markdown"]) == 0
    assert capsys.readouterr().out == (
        "### Compatible\n\n- `POST /gemini/image/generate request.model`: "
        "the value nano-banana-pro is new\n\n"
    )
    assert spec_diff.main(["--base", old, "--spec", old, "--format", "markdown"]) == 0
    assert capsys.readouterr().out == "The spec did not change.\n"
    assert spec_diff.main(["--base", old, "--spec", old]) == 0
    assert capsys.readouterr().out == "spec-diff: nothing changed\n"


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(info=None),
        lambda d: d["paths"][SUBMIT].update(post=None),
        lambda d: d["paths"][LOOK]["get"]["parameters"][0].pop("name"),
        lambda d: schema(d, "NanoImageDto")["properties"].update(prompt=None),
        lambda d: field(d, "prompt").update(maxLength="ten"),
    ],
)
def test_what_is_not_valid_is_2_and_one_line(
    files: Callable[[Edit], tuple[str, str]], capsys: pytest.CaptureFixture[str], edit: Edit
) -> None:
    old, new = files(edit)
    assert spec_diff.main(["--base", old, "--spec", new]) == 2
    said = capsys.readouterr().err
    assert said.startswith("spec-diff: new.yaml is no OpenAPI document: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("base", "spec", "said"),
    [
        ("no-such-reference", "openapi.yaml", "neither a file nor a git reference"),
        ("--help-me", "openapi.yaml", "neither a file nor a git reference"),
        ("README.md", "openapi.yaml", "README.md is no"),
        ("openapi.yaml", "nowhere.yaml", "cannot read nowhere.yaml"),
        ("generator-config.yml", "openapi.yaml", "generator-config.yml is no OpenAPI document"),
    ],
)
def test_what_cannot_be_compared_is_2(
    base: str,
    spec: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert spec_diff.main([f"--base={base}", "--spec", spec]) == 2
    assert said in capsys.readouterr().err


def stub(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program of the name oasdiff on PATH, first of all."""
    program = folder / "oasdiff"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "#!/bin/sh\necho \"$*\"; echo; grep -c '[-] nano-banana-pro' old.yaml new.yaml\n",
            "oasdiff: breaking old.yaml new.yaml --format singleline\n"
            "oasdiff: old.yaml:1\noasdiff: new.yaml:0\n",
        ),
        (
            "#!/bin/sh\necho 'Error: unknown flag' >&2; exit 101\n",
            "oasdiff: failed with exit status 101:\noasdiff: Error: unknown flag\n",
        ),
        ("#!/bin/sh\nsleep 20 & wait\n", "oasdiff: no answer within 0.3 seconds\n"),
        ("no program", "oasdiff: cannot be run: Exec format error\n"),
        ("#!/bin/sh\n", ""),
    ],
    ids=["finds", "fails", "hangs", "is no program", "finds nothing"],
)
def test_the_opinion_of_oasdiff_follows_and_has_no_say_in_the_exit_status(
    files: Callable[[Edit], tuple[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    said: str,
) -> None:
    old, new = files(lambda d: field(d, "model")["enum"].remove("nano-banana-pro"))
    assert spec_diff.main(["--base", old, "--spec", new]) == 1
    without = capsys.readouterr().out
    stub(tmp_path, script, monkeypatch)
    monkeypatch.setattr(spec_diff, "OASDIFF_SECONDS", 0.3)
    start = time.perf_counter()
    assert spec_diff.main(["--base", old, "--spec", new]) == 1
    assert capsys.readouterr().out == without + said
    assert spec_diff.main(["--base", new, "--spec", old]) == 0
    assert time.perf_counter() - start < 5


def test_a_pull_request_shows_the_opinion_of_oasdiff_as_it_is(
    files: Callable[[Edit], tuple[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, _ = files(lambda d: None)
    stub(tmp_path, "#!/bin/sh\necho 'error at new.yaml, in API `GET /a` *gone*'\n", monkeypatch)
    assert spec_diff.main(["--base", old, "--spec", old, "--format", "markdown"]) == 0
    assert capsys.readouterr().out == (
        "The spec did not change.\n\n### oasdiff\n\n    error at new.yaml, in API `GET /a` *gone*\n"
    )
