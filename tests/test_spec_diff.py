"""Every kind of change to the spec is reported, with the right level."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from mountsea_banana.rules import _rules

from scripts import spec_diff
from tests import drift

ROOT = Path(__file__).parent.parent
# A spec that the vendor has once published, so that its next one changes no test.
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "tests/published.openapi.yaml").read_text("utf-8"))
CURRENT: dict[str, Any] = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
SUBMIT, RESULT = "/gemini/image/generate", "/gemini/task/result"

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
    ("an operation is removed", lambda d: d["paths"].pop(RESULT), "breaking", "operation removed"),
    (
        "an operation is added",
        lambda d: d["paths"].update({"/m": {"get": {"responses": {"200": {"description": ""}}}}}),
        "compatible",
        "GET /m: operation added",
    ),
    (
        "a method changes",
        lambda d: d["paths"][SUBMIT].update(put=d["paths"][SUBMIT].pop("post")),
        "breaking",
        "POST /gemini/image/generate: operation removed",
    ),
    (
        "a path changes",
        lambda d: d["paths"].update({"/v2/image": d["paths"].pop(SUBMIT)}),
        "breaking",
        "operation removed",
    ),
    (
        "the success status changes",
        lambda d: post(d)["responses"].update({"202": post(d)["responses"].pop("201")}),
        "breaking",
        "success status 201 removed",
    ),
    (
        "a success status is added",
        lambda d: post(d)["responses"].update({"202": {"description": ""}}),
        "risky",
        "success status 202 added",
    ),
    (
        "the server changes",
        lambda d: d["servers"][0].update(url="https://new.example"),
        "risky",
        "servers: changed from https://api.mountsea.ai to https://new.example",
    ),
    (
        "security is removed",
        lambda d: post(d).pop("security"),
        "compatible",
        "an API key is no longer required",
    ),
    (
        "a second way to authenticate is added",
        lambda d: (
            d["components"]["securitySchemes"].update(
                key={"type": "apiKey", "in": "query", "name": "k"}
            ),
            post(d)["security"].append({"key": []}),
        ),
        "compatible",
        "an alternative to the API key was added",
    ),
    (
        "the API key moves to the query",
        lambda d: d["components"]["securitySchemes"].update(
            bearerAuth={"type": "apiKey", "in": "query", "name": "key"}
        ),
        "breaking",
        "the API key has changed, or is sent differently",
    ),
    (
        "an operation gets its own server",
        lambda d: d["paths"][SUBMIT].update(servers=[{"url": "https://new.example"}]),
        "risky",
        "POST /gemini/image/generate: servers of this operation changed",
    ),
    (
        "an operation is deprecated",
        lambda d: post(d).update(deprecated=True),
        "risky",
        "operation deprecated",
    ),
    (
        "the media type changes",
        lambda d: post(d)["requestBody"]["content"].update(
            {"text/plain": post(d)["requestBody"]["content"].pop("application/json")}
        ),
        "breaking",
        "media type application/json removed",
    ),
    (
        "a field is removed",
        lambda d: schema(d, "NanoImageDto")["properties"].pop("resolution"),
        "breaking",
        "request.resolution: property removed",
    ),
    (
        "an optional field is added",
        lambda d: schema(d, "NanoImageDto")["properties"].update(seed={"type": "integer"}),
        "compatible",
        "request.seed: property added",
    ),
    (
        "a required field is added",
        lambda d: (
            schema(d, "NanoImageDto")["properties"].update(seed={"type": "integer"}),
            schema(d, "NanoImageDto")["required"].append("seed"),
        ),
        "breaking",
        "request.seed: required property added",
    ),
    (
        "a field becomes required",
        lambda d: schema(d, "NanoImageDto")["required"].append("model"),
        "breaking",
        "request.model: property is now required",
    ),
    (
        "a field becomes optional",
        lambda d: schema(d, "NanoImageDto")["required"].remove("action"),
        "compatible",
        "request.action: property is now optional",
    ),
    (
        "a type changes",
        lambda d: field(d, "num_images").update(type="boolean", default=True),
        "breaking",
        "type changed from number to boolean",
    ),
    (
        "a limit is added",
        lambda d: field(d, "prompt").update(maxLength=1000),
        "breaking",
        "maxLength 1000 added",
    ),
    (
        "a pattern is added",
        lambda d: field(d, "prompt").update(pattern="^a"),
        "breaking",
        "pattern ^a added",
    ),
    (
        "a format is removed",
        lambda d: field(d, "image_urls")["items"].pop("format"),
        "compatible",
        "format uri removed",
    ),
    (
        "a value is removed",
        lambda d: field(d, "model")["enum"].pop(1),
        "breaking",
        "request.model: value nano-banana-pro removed",
    ),
    (
        "a value is added",
        lambda d: field(d, "aspect_ratio")["enum"].append("2:1"),
        "compatible",
        "request.aspect_ratio: value 2:1 added",
    ),
    (
        "an enum is added",
        lambda d: field(d, "prompt").update(enum=["a"]),
        "breaking",
        "only these values are now allowed: a",
    ),
    (
        "an enum is removed",
        lambda d: field(d, "model").pop("enum"),
        "compatible",
        "any value is now allowed",
    ),
    (
        "a default changes",
        lambda d: field(d, "model").update(default="nano-banana-2"),
        "risky",
        "default changed from nano-banana-fast to nano-banana-2",
    ),
    (
        "a description changes",
        lambda d: field(d, "resolution").update(description="any\n size"),
        "risky",
        "description changed: check it for new rules: was "
        f"“{' '.join(field(SPEC, 'resolution')['description'].split())}”, now “any size”",
    ),
    (
        "a request field becomes nullable",
        lambda d: field(d, "model").update(nullable=True),
        "compatible",
        "null is now allowed",
    ),
    (
        "a response field is removed",
        lambda d: schema(d, "TaskResultDto")["properties"].pop("errorCode"),
        "breaking",
        "200.errorCode: property removed",
    ),
    (
        "a response field becomes optional",
        lambda d: schema(d, "TaskIdDto").pop("required"),
        "breaking",
        "201.taskId: property is now optional",
    ),
    (
        "a response type changes",
        lambda d: field(d, "taskId", "TaskIdDto").update(type="integer"),
        "breaking",
        "201.taskId: type changed from string to integer",
    ),
    (
        "a response value is added",
        lambda d: field(d, "status", "TaskResultDto")["enum"].append("paused"),
        "risky",
        "200.status: value paused added",
    ),
    (
        "a response value is removed",
        lambda d: field(d, "status", "TaskResultDto")["enum"].remove("ready"),
        "compatible",
        "200.status: value ready removed",
    ),
    (
        "a response field is no longer nullable",
        lambda d: field(d, "result", "TaskResultDto").pop("nullable"),
        "compatible",
        "null is no longer allowed",
    ),
    (
        "a response field gets alternatives",
        lambda d: field(d, "errorMessage", "TaskResultDto").update(oneOf=[{}]),
        "risky",
        "oneOf changed: review it manually",
    ),
    (
        "a schema is renamed",
        lambda d: rename(d, "NanoImageDto", "ImageRequest"),
        "breaking",
        "schema NanoImageDto replaced by ImageRequest",
    ),
    (
        "an operationId changes",
        lambda d: post(d).update(operationId="generate"),
        "breaking",
        "operationId changed from ApiPublicController_nanoImage to generate",
    ),
    ("a tag changes", lambda d: post(d).update(tags=["x"]), "breaking", "first tag changed"),
    (
        "an operation's description changes",
        lambda d: post(d).update(description="x"),
        "risky",
        "description changed",
    ),
    (
        "a parameter is removed",
        lambda d: d["paths"][RESULT]["get"]["parameters"].clear(),
        "breaking",
        "query taskId: parameter removed",
    ),
    (
        "a parameter is added",
        lambda d: d["paths"][RESULT]["get"]["parameters"].append(
            {"name": "a", "in": "query", "schema": {"type": "string"}}
        ),
        "compatible",
        "query a: parameter added",
    ),
    (
        "a parameter becomes optional",
        lambda d: d["paths"][RESULT]["get"]["parameters"][0].update(required=False),
        "compatible",
        "parameter is now optional",
    ),
    (
        "the version changes",
        lambda d: d["info"].update(version="2.1.0"),
        "compatible",
        "version changed to 2.1.0",
    ),
]


def changed(edit: Edit, spec: dict[str, Any] = SPEC) -> dict[str, Any]:
    document = copy.deepcopy(spec)
    edit(document)
    return document


@pytest.mark.parametrize(
    ("edit", "level", "text"), [pytest.param(*each[1:], id=each[0]) for each in EDITS]
)
def test_a_change_is_reported_with_its_level(edit: Edit, level: str, text: str) -> None:
    lines = [str(change) for change in spec_diff.compare(SPEC, changed(edit))]
    matching = [line for line in lines if text in line]
    assert matching, lines
    assert all(line.startswith(f"{level}: ") for line in matching)
    assert matching == lines or level == "breaking" or len(lines) <= 2


MODELS = field(CURRENT, "model")["enum"]
RESOLUTIONS = sorted(field(CURRENT, "resolution")["enum"])
NO_SENTENCE = next(
    f"openapi.yaml no longer has the sentence {rule.sentence!r}: "
    for rule in _rules.RULES
    if rule.id == "resolution-needs-pro-or-2"
)
# The decisions that edits of the current spec leave to the developer. The others leave none.
DECISIONS = {
    "an operation is removed": ["GET /gemini/task/result was removed from openapi.yaml"],
    "an operation is added": ["GET /m was added to openapi.yaml: "],
    "a method changes": [
        "PUT /gemini/image/generate was added to",
        "POST /gemini/image/generate was removed from",
    ],
    "a path changes": [
        "POST /v2/image was added to",
        "POST /gemini/image/generate was removed from",
    ],
    "a field is removed": [
        "openapi.yaml no longer has the field resolution: ",
        f"openapi.yaml no longer allows resolution {', '.join(RESOLUTIONS)}: ",
        NO_SENTENCE,
    ],
    "a value is removed": [f"openapi.yaml no longer allows model {MODELS[1]}: "],
    "a value is added": ["openapi.yaml now allows aspect_ratio 2:1: "],
    "an enum is removed": [
        f"openapi.yaml no longer allows model {', '.join(sorted(MODELS))}: ",
    ],
    "a default changes": ["the default model in openapi.yaml is now nano-banana-2"],
    "a description changes": [NO_SENTENCE],
    "a response field is removed": ["openapi.yaml no longer has the field errorCode: "],
    "a response value is added": ["openapi.yaml now allows status paused: "],
}


@pytest.mark.parametrize(
    ("name", "edit"),
    [pytest.param(*each[:2], id=each[0]) for each in EDITS if each[0] != "a schema is renamed"],
)
def test_a_change_lists_the_decisions_it_leaves_and_no_others(name: str, edit: Edit) -> None:
    document = spec_diff.read(yaml.safe_dump(changed(edit, CURRENT)).encode(), "openapi.yaml")
    lines = drift.undecided(document)
    expected = DECISIONS.get(name, [])
    assert len(lines) == len(expected), lines
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), lines


def test_a_renamed_schema_is_listed_first() -> None:
    after = changed(lambda d: rename(d, "NanoImageDto", "ImageRequest"))
    assert drift.undecided(after)[0].startswith("schema NanoImageDto was removed from openapi.yaml")


@pytest.mark.parametrize(
    ("edit", "level", "text"),
    [
        (lambda d: field(d, "prompt").pop("maxLength"), "compatible", "maxLength 9 removed"),
        (
            lambda d: field(d, "prompt").update(maxLength=8),
            "breaking",
            "maxLength changed from 9 to 8",
        ),
        (
            lambda d: field(d, "prompt").update(maxLength=10),
            "compatible",
            "maxLength changed from 9 to 10",
        ),
        (
            lambda d: field(d, "prompt").update(minLength=2),
            "breaking",
            "minLength changed from 1 to 2",
        ),
        (
            lambda d: field(d, "prompt").update(pattern="b"),
            "breaking",
            "pattern changed from a to b",
        ),
        (
            lambda d: post(d).update(security=[{"bearerAuth": []}]),
            "breaking",
            "an API key is now required",
        ),
        (
            lambda d: post(d)["requestBody"].update(required=True),
            "breaking",
            "request body is now required",
        ),
    ],
)
def test_a_stricter_constraint_is_breaking_and_a_looser_one_compatible(
    edit: Edit, level: str, text: str
) -> None:
    base = copy.deepcopy(SPEC)
    field(base, "prompt").update(maxLength=9, minLength=1, pattern="a")
    post(base).update(security=[])
    post(base)["requestBody"].update(required=False)
    after = copy.deepcopy(base)
    edit(after)
    (change,) = spec_diff.compare(base, after)
    assert str(change).startswith(f"{level}: ")
    assert text in str(change)


@pytest.mark.parametrize("kind", ["parameters", "requestBodies", "responses"])
def test_moving_a_part_into_the_components_is_not_a_change(kind: str) -> None:
    after = copy.deepcopy(SPEC)
    holder, place = {
        "parameters": (after["paths"][RESULT]["get"]["parameters"], 0),
        "requestBodies": (post(after), "requestBody"),
        "responses": (post(after)["responses"], "201"),
    }[kind]
    after["components"][kind] = {"Moved": holder[place]}
    holder[place] = {"$ref": f"#/components/{kind}/Moved"}
    assert spec_diff.compare(SPEC, after) == []


def test_a_recursive_schema_is_compared_once() -> None:
    base = copy.deepcopy(SPEC)
    reference = {"$ref": "#/components/schemas/TaskResultDto"}
    schema(base, "TaskResultDto")["properties"]["parent"] = reference
    after = copy.deepcopy(base)
    field(after, "status", "TaskResultDto")["enum"].append("queued")
    assert len(spec_diff.compare(base, after)) == 1


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Edit], tuple[str, str]]:
    """Return a function that writes the spec and an edited copy to files. Hides oasdiff."""
    folders = os.environ["PATH"].split(os.pathsep)
    without = [folder for folder in folders if not Path(folder, "oasdiff").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(without))

    def write(edit: Edit) -> tuple[str, str]:
        (tmp_path / "old.yaml").write_text(yaml.safe_dump(SPEC))
        (tmp_path / "new.yaml").write_text(yaml.safe_dump(changed(edit)))
        return str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")

    return write


def test_the_exit_code_is_1_if_anything_is_breaking(
    files: Callable[[Edit], tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = files(lambda d: field(d, "model")["enum"].remove("nano-banana-pro"))
    assert spec_diff.main(["--base", old, "--spec", new]) == 1
    assert capsys.readouterr().out == (
        "breaking: POST /gemini/image/generate request.model: value nano-banana-pro removed\n"
    )
    assert spec_diff.main(["--base", new, "--spec", old, "--format", "markdown"]) == 0
    assert capsys.readouterr().out == (
        "### Compatible\n\n- `POST /gemini/image/generate request.model`: "
        "value nano-banana-pro added\n\n"
    )
    assert spec_diff.main(["--base", old, "--spec", old, "--format", "markdown"]) == 0
    assert capsys.readouterr().out == "The spec did not change.\n"
    assert spec_diff.main(["--base", old, "--spec", old]) == 0
    assert capsys.readouterr().out == "spec-diff: no changes\n"


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(info=None),
        lambda d: d["paths"][SUBMIT].update(post=None),
        lambda d: d["paths"][RESULT]["get"]["parameters"][0].pop("name"),
        lambda d: schema(d, "NanoImageDto")["properties"].update(prompt=None),
        lambda d: field(d, "prompt").update(maxLength="ten"),
    ],
)
def test_an_invalid_spec_prints_one_line_and_exits_with_2(
    files: Callable[[Edit], tuple[str, str]], capsys: pytest.CaptureFixture[str], edit: Edit
) -> None:
    old, new = files(edit)
    assert spec_diff.main(["--base", old, "--spec", new]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("spec-diff: new.yaml is not a valid OpenAPI document: ")
    assert stderr.count("\n") == 1


def test_references_to_nothing_are_listed_on_one_line(
    files: Callable[[Edit], tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = files(
        lambda d: (
            field(d, "prompt").update({"$ref": "#/components/schemas/Gone"}),
            field(d, "action").update({"$ref": "other.yaml#/x"}),
            d["components"]["schemas"].pop("TaskIdDto"),
        )
    )
    assert spec_diff.main(["--base", old, "--spec", new]) == 2
    assert capsys.readouterr().err == (
        "spec-diff: new.yaml has no target for these references: #/components/schemas/Gone, "
        "#/components/schemas/TaskIdDto, other.yaml#/x\n"
    )


def test_the_order_of_alternatives_is_not_a_change() -> None:
    base = copy.deepcopy(SPEC)
    post(base)["security"] = [{}, {"bearerAuth": []}]
    after = copy.deepcopy(base)
    post(after)["security"].reverse()
    assert spec_diff.compare(base, after) == []


@pytest.mark.parametrize(
    ("base", "spec", "text"),
    [
        ("no-such-reference", "openapi.yaml", "neither a file nor a git reference"),
        ("--help-me", "openapi.yaml", "neither a file nor a git reference"),
        ("README.md", "openapi.yaml", "README.md is not"),
        ("openapi.yaml", "nowhere.yaml", "cannot read nowhere.yaml"),
        (
            "generator-config.yml",
            "openapi.yaml",
            "generator-config.yml is not a valid OpenAPI document",
        ),
    ],
)
def test_a_spec_that_cannot_be_read_exits_with_2(
    base: str,
    spec: str,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    assert spec_diff.main([f"--base={base}", "--spec", spec]) == 2
    assert text in capsys.readouterr().err


def stub(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program named oasdiff first on PATH."""
    program = folder / "oasdiff"
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("script", "output"),
    [
        (
            "#!/bin/sh\necho \"$*\"; echo; grep -c '[-] nano-banana-pro' old.yaml new.yaml\n",
            "oasdiff: breaking old.yaml new.yaml --format singleline\n"
            "oasdiff: old.yaml:1\noasdiff: new.yaml:0\n",
        ),
        (
            "#!/bin/sh\necho 'Error: unknown flag' >&2; exit 101\n",
            "oasdiff: failed with exit code 101:\noasdiff: Error: unknown flag\n",
        ),
        (
            '#!/bin/sh\n(sleep 20; touch "$0.ended") & wait\n',
            "oasdiff: timed out after 0.3 seconds\n",
        ),
        ("no program", "oasdiff: cannot start: Exec format error\n"),
        ("#!/bin/sh\n", ""),
    ],
    ids=["changes", "error", "timeout", "not a program", "no changes"],
)
def test_oasdiff_output_follows_and_does_not_affect_the_exit_code(
    files: Callable[[Edit], tuple[str, str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    output: str,
) -> None:
    old, new = files(lambda d: field(d, "model")["enum"].remove("nano-banana-pro"))
    assert spec_diff.main(["--base", old, "--spec", new]) == 1
    without = capsys.readouterr().out
    stub(tmp_path, script, monkeypatch)
    monkeypatch.setattr(spec_diff, "OASDIFF_SECONDS", 0.3)
    assert spec_diff.main(["--base", old, "--spec", new]) == 1
    assert capsys.readouterr().out == without + output
    assert spec_diff.main(["--base", new, "--spec", old]) == 0
    assert not list(tmp_path.rglob("*.ended"))


def test_markdown_shows_oasdiff_output_verbatim(
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
