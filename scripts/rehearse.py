"""Rehearse changes of the vendor's spec: how many decisions each leaves, and what else it breaks.

    python scripts/rehearse.py [NAMES...]

For each change, it edits `openapi.yaml` in a clone of the last commit, generates the client, counts
the decisions that `tests/drift.py` names, makes them as a developer would, and runs `make test`.
`TESTS` in the environment replaces all of `make test` by these tests. Exit code: 0 if the tests
pass after every change; 1 if not; 2 if a change is unknown.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import field, frozen

ROOT = Path(__file__).parent.parent

SPEC = "openapi.yaml"
OVERLAY = "wrapper/mountsea_banana/contract/rules.overlay.yaml"
RULES = "wrapper/mountsea_banana/rules/_rules.py"
MODELS = "wrapper/mountsea_banana/rules/_models.py"
SUBMITTER = "wrapper/mountsea_banana/client/_async_submitter.py"
POLLING = "wrapper/mountsea_banana/client/_polling.py"
SNAPSHOTS = "wrapper/mountsea_banana/client/_snapshots.py"
DRIFT = "tests/drift.py"

Edits = dict[str, dict[str, str]]
"""For each file, the texts to replace everywhere in it, and what replaces them."""


@frozen
class Change:
    """A change of the spec, and the decisions that a developer makes about it."""

    spec: dict[str, str]
    decisions: Edits = field(factory=dict)


OPERATION = """  /gemini/image/upscale:
    post:
      operationId: ApiPublicController_upscale
      parameters: []
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              properties:
                image_url:
                  type: string
                  format: uri
              required:
                - image_url
      responses:
        '201':
          description: ''
          content:
            application/json:
              schema:
                $ref: '#/components/schemas/TaskIdDto'
      security:
        - bearerAuth: []
"""

PRO_OPTIONS = '''class ProOptions(TypedDict, total=False):
    """The options of models with any resolution, but no wide ratio."""

    model: Required[ProModel]
    """The model."""
    aspect_ratio: StandardRatio | WideRatioNeeds2 | None
    """The ratio; None for the server's default."""
    resolution: Resolution | None
    """The resolution; None for the server's default."""


'''
GENERATE = """    @overload
    async def generate(self, prompt: str, **options: Unpack[ProOptions]) -> AsyncTask: ...
"""
EDIT = """    @overload
    async def edit(
        self,
        prompt: str,
        image_urls: str | Sequence[str],
        *,
        check_images: bool = False,
        **options: Unpack[ProOptions],
    ) -> AsyncTask: ...
"""

SENTENCE = {"only support generate 1 image, default is 1": "one image per request, default is 1"}
RESOLUTION = "only valid when model is nano-banana-pro"

CHANGES = {
    "new-model": Change(
        {
            "            - nano-banana-2\n": "            - nano-banana-2\n"
            "            - nano-banana-3\n",
            f"{RESOLUTION} or nano-banana-2": f"{RESOLUTION}, nano-banana-2 or nano-banana-3",
        },
        {
            MODELS: {'["nano-banana-pro"]': '["nano-banana-pro", "nano-banana-3"]'},
            RULES: {
                f"{RESOLUTION} or nano-banana-2": f'{RESOLUTION}, "\n    "nano-banana-2 or '
                "nano-banana-3"
            },
            OVERLAY: {
                "[nano-banana-pro, nano-banana-2]": "[nano-banana-pro, nano-banana-2, "
                "nano-banana-3]",
                f"{RESOLUTION} or nano-banana-2": f"{RESOLUTION}, nano-banana-2 or nano-banana-3",
            },
            "docs/rules.md": {
                f"{RESOLUTION} or nano-banana-2": f"{RESOLUTION}, nano-banana-2 or nano-banana-3"
            },
        },
    ),
    "new-ratio": Change(
        {"            - '9:16'\n": "            - '9:16'\n            - '5:2'\n"},
        {MODELS: {'"16:9", "9:16"]': '"16:9", "9:16", "5:2"]'}},
    ),
    "new-resolution": Change(
        {"            - 4K\n": "            - 4K\n            - 8K\n"},
        {MODELS: {'"2K", "4K"]': '"2K", "4K", "8K"]'}},
    ),
    "new-action": Change(
        {"            - generate\n": "            - generate\n            - upscale\n"},
        {DRIFT: {'{"generate", "edit"}': '{"generate", "edit", "upscale"}'}},
    ),
    "new-field": Change(
        {"        resolution:\n": "        seed:\n          type: integer\n        resolution:\n"}
    ),
    "new-operation": Change(
        {"  /gemini/task/result:\n": OPERATION + "  /gemini/task/result:\n"},
        {
            DRIFT: {
                "NOT_OFFERED: Mapping[str, str] = {}": "NOT_OFFERED: Mapping[str, str] = {\n"
                '    "POST /gemini/image/upscale": "nobody has asked for it",\n}'
            }
        },
    ),
    "new-status": Change(
        {"            - processing\n": "            - processing\n            - uploading\n"},
        {POLLING: {'"processing", "queued"': '"processing", "uploading", "queued"'}},
    ),
    "new-sentence": Change(
        SENTENCE, {RULES: SENTENCE, OVERLAY: SENTENCE, "docs/rules.md": SENTENCE}
    ),
    "renamed-field": Change(
        {"        traceId:\n": "        requestId:\n"},
        {
            DRIFT: {'"traceId"': '"requestId"'},
            SNAPSHOTS: {
                'self._text("traceId")': 'self._text("requestId") or self._text("traceId")'
            },
        },
    ),
    "dropped-model": Change(
        {
            "            - nano-banana-pro\n": "",
            "only valid when model is nano-banana-pro or nano-banana-2": "only valid when model is "
            "nano-banana-2",
        },
        {
            MODELS: {
                'ProModel = Literal["nano-banana-pro"]\n': "",
                "FastModel, ProModel, ": "FastModel, ",
                PRO_OPTIONS: "",
                "FastOptions, ProOptions,": "FastOptions,",
            },
            "wrapper/mountsea_banana/__init__.py": {
                "        ProOptions,\n": "",
                '    "ProOptions",\n': "",
            },
            "scripts/reference.py": {"ProOptions() ": ""},
            "docs/getting-started.md": {"`ProOptions` and\n": "and\n"},
            SUBMITTER: {
                GENERATE: "",
                EDIT: "",
                "    ProOptions,\n": "",
                "`FastOptions`, `ProOptions` and": "`FastOptions` and",
            },
            "docs/rules.md": {
                "when model is nano-banana-pro or nano-banana-2": "when model is nano-banana-2"
            },
            RULES: {
                "when model is nano-banana-pro or nano-banana-2": "when model is nano-banana-2",
            },
            OVERLAY: {
                "[nano-banana-pro, nano-banana-2]": "[nano-banana-2]",
                "when model is nano-banana-pro or nano-banana-2": "when model is nano-banana-2",
            },
        },
    ),
}


def main(names: Sequence[str]) -> int:
    """Rehearse the named changes, or all; return the exit code."""
    unknown = [name for name in names if name not in CHANGES]
    if unknown:
        print(f"rehearse: unknown: {', '.join(unknown)}. Valid: {', '.join(CHANGES)}")
        return 2
    failed = [name for name in names or CHANGES if not rehearse(name, CHANGES[name])]
    if failed:
        print(f"rehearse: tests fail after {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def rehearse(name: str, change: Change) -> bool:
    """Make a change in a clone, print what it takes, and return whether the tests pass."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Clone(Path(folder, "clone"))
        clone.edit({SPEC: change.spec})
        clone.run("scripts/generate.py")
        decisions = clone.run("-c", UNDECIDED).split("\n")[:-1]
        clone.edit(change.decisions)
        clone.run("scripts/generate_sync.py")
        clone.run("scripts/reference.py")
        clone.run("-m", "ruff", "format", "--quiet", ".")
        code, output = clone.test()
    files = len(change.decisions)
    print(f"{name}: {len(decisions)} decisions in {files} files", flush=True)
    for decision in decisions:
        print(f"  {decision}", flush=True)
    if code:
        print(output, flush=True)
    return code == 0


UNDECIDED = (
    "import yaml\n"
    "from tests import drift\n"
    "for line in drift.undecided(yaml.safe_load(drift.SPEC.read_text('utf-8'))):\n"
    "    print(line)"
)


class Clone:
    """A clone of the last commit, with the tools of this project."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)  # noqa: S603, S607
        (folder / ".venv").symlink_to((ROOT / ".venv").resolve())
        sources = os.pathsep.join(str(folder / name) for name in ("wrapper", "generated_client"))
        self._environment = {**os.environ, "PYTHONPATH": sources}

    def edit(self, edits: Edits) -> None:
        """Replace texts in files. Each must occur."""
        for name, texts in edits.items():
            path = self._folder / name
            text = path.read_text("utf-8")
            for old, new in texts.items():
                if old not in text:
                    raise ValueError(f"{name} has no {old!r}")
                text = text.replace(old, new)
            path.write_text(text, "utf-8")

    def run(self, *arguments: str) -> str:
        """Run Python; return its output."""
        return subprocess.run(  # noqa: S603
            [sys.executable, *arguments],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            check=True,
            encoding="utf-8",
        ).stdout

    def test(self) -> tuple[int, str]:
        """Run the tests; return the exit code and the output."""
        tests = os.environ.get("TESTS", "").split()
        # The tools are this project's, which make would install again for a clone.
        command = ["make", "--old-file=.venv/ready", "test"]
        if tests:
            command = [sys.executable, "-m", "pytest", "-q", "--tb=line", *tests]
        ran = subprocess.run(  # noqa: S603
            command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            encoding="utf-8",
        )
        return ran.returncode, ran.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
