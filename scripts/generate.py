"""Generate `generated_client/mountsea_api` from `openapi.yaml`, or check that it is current.

    python scripts/generate.py           regenerate the client
    python scripts/generate.py --check   list the files that differ; change nothing

The new client replaces the old one only once it is complete, so a broken spec, an unsupported
operation or an interrupt leaves the old client unchanged.

Exit code: 0 on success, 1 if `--check` finds a difference, 2 if the client can't be generated.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from openapi_python_client.config import ClassOverride, ConfigFile
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts import spec_diff

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "openapi.yaml"
CONFIG = ROOT / "generator-config.yml"
CLIENT = ROOT / "generated_client" / "mountsea_api"


class GenerationError(Exception):
    """The client could not be generated."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare; write nothing")
    check = parser.parse_args(arguments).check
    try:
        CLIENT.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CLIENT.parent, prefix=".generating-") as folder:
            fresh = Path(folder) / CLIENT.name
            generate(SPEC, CONFIG, fresh)
            if check:
                return report_differences(fresh, CLIENT)
            changes = changes_since(CLIENT / "openapi.yaml", SPEC)
            swap(fresh, CLIENT)
    except GenerationError as error:
        print(f"generate: {error}", file=sys.stderr)
        print(f"generate: {CLIENT.relative_to(ROOT)} is unchanged", file=sys.stderr)
        return 2
    print(f"generate: wrote {CLIENT.relative_to(ROOT)} from {SPEC.name}")
    for change in changes:
        print(f"generate: {change}")
    if changes:
        print("generate: run `.venv/bin/pytest -k drift` to list the decisions left to you")
    return 0


def changes_since(committed: Path, spec: Path) -> list[str]:
    """Return the changes from the spec of the committed client to `spec`, one line each."""
    try:
        old, new = spec_diff.read_file(committed), spec_diff.read_file(spec)
    except spec_diff.DiffError as error:
        return [f"cannot list the changes: {error}"]
    return [str(change) for change in spec_diff.compare(old, new)]


def generate(spec: Path, config: Path, target: Path) -> None:
    """Generate the client for `spec` into the new folder `target`.

    Raises GenerationError if the spec is unreadable or invalid, the configuration has an unknown
    key, ruff is not installed next to this Python, or the generator fails or prints a warning.
    """
    check_config(read_yaml(config), config.name)
    try:
        validate(read_yaml(spec))
    except OpenAPIValidationError as error:
        raise GenerationError(f"{spec.name} is not valid OpenAPI: {error}") from error
    binaries = Path(sys.executable).parent
    if not shutil.which("ruff", path=str(binaries)):
        raise GenerationError(f"ruff is not installed in {binaries}: run `make setup`")
    run = subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "openapi_python_client", "generate"),
            *("--path", spec, "--config", config, "--output-path", target),
            *("--meta", "none", "--fail-on-warning"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"},
    )
    if run.returncode:
        raise GenerationError(f"the generator failed on {spec.name}:\n{run.stdout}{run.stderr}")
    (target / "py.typed").touch()
    shutil.copyfile(spec, target / "openapi.yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file. Raises GenerationError if there isn't one."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise GenerationError(f"cannot read {path.name}: {error}") from error
    if not isinstance(document, dict):
        raise GenerationError(
            f"{path.name} must contain a YAML mapping, not {type(document).__name__}"
        )
    return document


def check_config(config: dict[str, Any], name: str) -> None:
    """Raise GenerationError for a key that the generator would silently ignore."""
    overrides = config.get("class_overrides") or {}
    unknown = config.keys() - ConfigFile.model_fields.keys()
    unknown |= {key for override in overrides.values() for key in override} - (
        ClassOverride.model_fields.keys()
    )
    if unknown:
        valid = ", ".join(sorted(ConfigFile.model_fields))
        raise GenerationError(
            f"{name}: unknown key {', '.join(sorted(unknown))}; valid keys: {valid}"
        )


def swap(fresh: Path, target: Path) -> None:
    """Replace the folder `target` with `fresh`; restore it if that fails."""
    retired = fresh.with_name("retired")
    if target.exists():
        target.rename(retired)
    try:
        fresh.rename(target)
    except OSError:
        if retired.exists():
            retired.rename(target)
        raise


def report_differences(fresh: Path, committed: Path) -> int:
    """Print every file that differs between two folders; return 1 if any does, else 0."""
    expected, found = read_tree(fresh), read_tree(committed)
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            print(f"check-generated: missing: {path}")
        elif path not in expected:
            print(f"check-generated: not generated: {path}")
        elif expected[path] != found[path]:
            print(f"check-generated: differs: {path}")
    if expected == found:
        print(f"check-generated: all {len(found)} files match {SPEC.name}")
        return 0
    print(
        f"check-generated: {CLIENT.relative_to(ROOT)} doesn't match {SPEC.name}: run "
        "`make generate`, and never edit these files manually"
    )
    return 1


def read_tree(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file in `folder`, keyed by its relative path."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


if __name__ == "__main__":
    sys.exit(main())
