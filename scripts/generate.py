"""Write `generated_client/mountsea_api` from `openapi.yaml`, or check that it is up to date.

    python scripts/generate.py           regenerate the client
    python scripts/generate.py --check   exit 1 where the committed client differs, file by file

The client is generated beside its final place and swapped in whole, so that a broken spec, an
operation that the generator cannot read or an interrupt leaves the old tree as it was.
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
    """Why no client was generated, in one message for a person."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status: 0 done, 1 the client differs, 2 no client."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
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
        print(f"generate: {CLIENT.relative_to(ROOT)} was left as it was", file=sys.stderr)
        return 2
    print(f"generate: wrote {CLIENT.relative_to(ROOT)} from {SPEC.name}")
    for change in changes:
        print(f"generate: {change}")
    if changes:
        print("generate: `.venv/bin/pytest -k drift` says which decisions now need a person")
    return 0


def changes_since(committed: Path, spec: Path) -> list[str]:
    """Return what `spec` changes for those who use the client that carries `committed`."""
    try:
        old, new = spec_diff.read_file(committed), spec_diff.read_file(spec)
    except spec_diff.DiffError as error:
        return [f"nothing to compare with: {error}"]
    return [str(change) for change in spec_diff.compare(old, new)]


def generate(spec: Path, config: Path, target: Path) -> None:
    """Generate the client of `spec` into the new folder `target`.

    Raises GenerationError: an unreadable or invalid spec, an unknown configuration key, no ruff
    beside this Python, or anything the generator warns of.
    """
    check_config(read_yaml(config), config.name)
    try:
        validate(read_yaml(spec))
    except OpenAPIValidationError as error:
        raise GenerationError(f"{spec.name} is not valid OpenAPI: {error}") from error
    binaries = Path(sys.executable).parent
    if not shutil.which("ruff", path=str(binaries)):
        raise GenerationError(f"no ruff in {binaries}, which formats the client: run `make setup`")
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
        raise GenerationError(f"the generator refused {spec.name}:\n{run.stdout}{run.stderr}")
    (target / "py.typed").touch()
    shutil.copyfile(spec, target / "openapi.yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that `path` holds; raise GenerationError where it holds none."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise GenerationError(f"cannot read {path.name}: {error}") from error
    if not isinstance(document, dict):
        raise GenerationError(f"{path.name} holds no mapping")
    return document


def check_config(config: dict[str, Any], name: str) -> None:
    """Raise GenerationError for a key that the generator would ignore silently."""
    overrides = config.get("class_overrides") or {}
    unknown = config.keys() - ConfigFile.model_fields.keys()
    unknown |= {key for override in overrides.values() for key in override} - (
        ClassOverride.model_fields.keys()
    )
    if unknown:
        known = ", ".join(sorted(ConfigFile.model_fields))
        raise GenerationError(f"{name}: unknown key {', '.join(sorted(unknown))}; known: {known}")


def swap(fresh: Path, target: Path) -> None:
    """Put the folder `fresh` in the place of `target`, whole or not at all."""
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
    """Print every file in which two trees differ; return 1 where there is one, else 0."""
    expected, found = read_tree(fresh), read_tree(committed)
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            print(f"check-generated: missing: {path}")
        elif path not in expected:
            print(f"check-generated: not from the generator: {path}")
        elif expected[path] != found[path]:
            print(f"check-generated: differs from what {SPEC.name} generates: {path}")
    if expected == found:
        print(f"check-generated: {len(found)} files are what {SPEC.name} generates")
        return 0
    print("check-generated: run `make generate`, and never edit the generated client by hand")
    return 1


def read_tree(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file below `folder`, by its relative path."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


if __name__ == "__main__":
    sys.exit(main())
