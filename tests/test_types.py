"""mypy and pyright accept exactly the calls that the rules allow, and their messages say why."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import mountsea_banana
import pytest
from mountsea_banana import check_request
from mountsea_banana.rules import _models, _rules

from tests import drift

Errors = Mapping[str, str]

ROOT = Path(__file__).parent.parent
MODELS = (None, *drift.published("model"))
RATIOS = (None, *drift.published("aspect_ratio"), "7:7")
RESOLUTIONS = (None, *drift.published("resolution"), "9K")
OPTIONS = [name for name in mountsea_banana.__all__ if name.endswith("Options")]
HEAD = f"""from mountsea_banana import AspectRatio, AsyncNanoBanana, Model, NanoBanana
from mountsea_banana import {", ".join(OPTIONS)}
async def calls(
    a: NanoBanana, b: AsyncNanoBanana, model: Model, some: Model | None, ratio: AspectRatio,
    {", ".join(f"{name.lower()}: {name}" for name in OPTIONS)},
) -> None:
"""
VARIABLES = [
    'a.generate("x", model=model)',
    'a.generate("x", model=some)',
    'a.generate("x", model=model, resolution=None)',
    'await b.generate("x", model=model, resolution=None)',
    'a.edit("x", "https://example.com/a", model=model, resolution=None, check_images=True)',
    'await b.edit("x", ["https://example.com/a"], model=model, resolution=None)',
    'a.generate("x", model="nano-banana-2", aspect_ratio=ratio, resolution=None)',
    *(f'a.generate("x", **{name.lower()})' for name in OPTIONS),
    'a.edit("x", "https://example.com/a", **fastoptions)',
]
MISSPELT = [
    "from mountsea_banana import NanoBananna",
    "import mountsea_banana; mountsea_banana.NanoBananna",
    "a.generat('x')",
    "await b.generat('x')",
    "a.generate('x', modell='nano-banana-2')",
    "a.task('x').wait(poll=1)",
]
RULES = {
    "a.generate('x', resolution='2K')": "ResolutionNeedsProOr2",
    "a.generate('x', model='nano-banana-fast', resolution='2K')": "ResolutionNeedsProOr2",
    "await b.edit('x', 'https://example.com/a', resolution='2K')": "ResolutionNeedsProOr2",
    "a.generate('x', aspect_ratio='1:8')": "WideRatioNeeds2",
    **{
        f"a.generate('x', model='{model}', aspect_ratio='1:8')": "WideRatioNeeds2"
        for model in drift.published("model")
        if model not in _rules.WIDE_RATIO_MODELS
    },
}


def every_call() -> list[tuple[str, bool]]:
    """Return each literal call, and whether it is valid."""
    calls = []
    starts = [
        ('a.generate("x"', {"action": "generate"}),
        ('await b.generate("x"', {"action": "generate"}),
        ('a.edit("x", "https://example.com/a"', {"action": "edit"}),
        ('await b.edit("x", ["https://example.com/a"]', {"action": "edit"}),
    ]
    for (start, body), model, ratio, resolution in itertools.product(
        starts, MODELS, RATIOS, RESOLUTIONS
    ):
        options = {"model": model, "aspect_ratio": ratio, "resolution": resolution}
        given = {name: value for name, value in options.items() if value is not None}
        text = ", ".join([start, *(f'{name}="{value}"' for name, value in given.items())]) + ")"
        request = {"prompt": "x", "image_urls": ["https://example.com/a"], **body, **given}
        calls.append((text, not check_request(request)))
    return calls


def mypy(source: Path) -> dict[int, str]:
    """Return mypy's errors: the line of each, and its message with the notes."""
    command = [sys.executable, "-m", "mypy", "--strict", "--output=json", str(source)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    found = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {
        each["line"]: f"{each['message']}\n{each['hint'] or ''}"
        for each in found
        if each["severity"] == "error"
    }


def pyright(source: Path) -> dict[int, str]:
    """Return pyright's errors: the line of each, and its messages."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run(
        [*command, str(source)], capture_output=True, text=True, cwd=source.parent, check=False
    )
    messages: dict[int, str] = {}
    for each in json.loads(ran.stdout)["generalDiagnostics"]:
        if each["severity"] == "error":
            line = each["range"]["start"]["line"] + 1
            messages[line] = messages.get(line, "") + each["message"] + "\n"
    return messages


@pytest.fixture(scope="module", params=[mypy, pyright])
def errors(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """The errors of a type checker, by statement; a valid statement has none."""
    statements = [*(call for call, _ in every_call()), *VARIABLES, *MISSPELT, *RULES]
    source = tmp_path_factory.mktemp("types") / "calls.py"
    source.write_text(HEAD + "".join(f"    {statement}\n" for statement in statements))
    first = HEAD.count("\n") + 1
    return {statements[line - first]: message for line, message in request.param(source).items()}


def test_a_literal_call_is_a_type_error_exactly_if_it_violates_a_rule(errors: Errors) -> None:
    invalid = {call for call, is_valid in every_call() if not is_valid}
    assert errors.keys() & {call for call, _ in every_call()} == invalid


@pytest.mark.parametrize("call", VARIABLES)
def test_variables_and_option_dictionaries_are_accepted(errors: Errors, call: str) -> None:
    assert call not in errors


@pytest.mark.parametrize("statement", MISSPELT)
def test_a_misspelt_name_is_a_type_error(errors: Errors, statement: str) -> None:
    assert statement in errors


@pytest.mark.parametrize(("call", "rule"), RULES.items())
def test_the_message_of_a_type_error_names_the_rule(errors: Errors, call: str, rule: str) -> None:
    assert rule in errors[call]


@pytest.mark.parametrize("name", ["ResolutionNeedsProOr2", "WideRatioNeeds2"])
def test_no_value_has_a_type_that_names_a_rule(name: str) -> None:
    with pytest.raises(TypeError, match="No value has this type"):
        getattr(_models, name)()
