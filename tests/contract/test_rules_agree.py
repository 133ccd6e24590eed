"""The rules exist as Python and as JSON Schema. Both must agree on every combination."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from mountsea_banana import check_request
from mountsea_banana.contract import Contract

from tests import drift

ABSENT = object()
URL = "https://example.com/a.png"
RATIOS = ["1:1", "16:9", "9:16", "4:3", "21:9", "1:4", "4:1", "1:8", "8:1"]
FINITE = {
    "action": [ABSENT, "edit", "generate", "Edit", None],
    "image_urls": [ABSENT, [], [URL], [URL, URL], ["ftp://a/b"], ["http://"], [5], None, URL],
    "model": [ABSENT, *drift.published("model"), "nano"],
    "resolution": [ABSENT, *drift.published("resolution"), None],
    "aspect_ratio": [ABSENT, *RATIOS, "7:7", None],
    "num_images": [ABSENT, 1.0, 2, True],
}


def every_body() -> Iterator[dict[str, object]]:
    for values in itertools.product(*FINITE.values()):
        given = zip(FINITE, values, strict=True)
        present = {name: value for name, value in given if value is not ABSENT}
        yield {"prompt": "a cat", **present}


def test_the_wrapper_and_the_contract_agree_on_every_combination() -> None:
    contract = Contract.load()
    operation = contract.operations[0]
    assert operation.request is not None
    prose = {rule.id for rule in contract.rules}
    compared = 0
    for body in every_body():
        found = check_request(body)
        violated = {violation.rule for violation in found} & prose
        problems = list(operation.request.problems(body))
        assert violated == {each.rule for each in problems} & prose, body
        assert bool(found) == bool(problems), body
        compared += 1
    assert compared == math.prod(len(values) for values in FINITE.values()) > 10_000
