"""Check whether the public API has breaking changes that need a major version.

    python scripts/check_api.py [--against TAG]

griffe compares everything users can import: removed names, and parameters that were removed, moved,
made required or given another default. It doesn't compare annotations; `make spec-diff` reports
changes to the values a type allows.

Exit code: 0 if nothing breaks, the version is already a major release or no tag exists; 1 if the
version must be raised; 2 if the comparison is not possible.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import re
import subprocess
import sys
from pathlib import Path

import griffe

ROOT = Path(__file__).parent.parent
SOURCES = {
    "mountsea_banana": "wrapper",
    "mountsea_api": "generated_client",
    "pytest_mountsea_banana": "wrapper",
}


class CheckError(Exception):
    """The comparison is not possible; the message is one line."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--against", metavar="TAG", help="compare with this tag or commit (default: the last tag)"
    )
    tag = parser.parse_args(arguments).against or last_tag()
    if not tag:
        print("check-api: no release tag yet; nothing to compare")
        return 0
    try:
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{tag}^{{commit}}")
        if not commit:
            raise CheckError(
                f"{tag!r} is not a tag or commit of this repository: `git tag` lists the tags"
            )
        with contextlib.chdir(ROOT):  # griffe prints paths relative to the working directory
            breakages, old, new = compare(commit, tag)
    except CheckError as error:
        print(f"check-api: {error}", file=sys.stderr)
        return 2
    for breakage in breakages:
        print(f"breaking: {breakage}")
    if not breakages:
        print(f"check-api: no breaking changes since {tag}")
        return 0
    needed = next_major(old)
    if release(new) >= release(needed):
        print(f"check-api: breaking changes since {tag} are allowed: {new} is a major release")
        return 0
    print(
        f"check-api: breaking changes since {tag} need version {needed} or higher: raise "
        f"_version.py, which has {new}"
    )
    return 1


def last_tag() -> str:
    """Return the latest release tag, including one on this commit; empty if none exists."""
    return git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")


def git(*arguments: str) -> str:
    """Return the output of a git command; empty if it fails."""
    command = ["git", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return run.stdout.strip() if run.returncode == 0 else ""


def compare(commit: str, tag: str) -> tuple[list[str], str, str]:
    """Return the breaking changes from a commit to the working tree, and both versions.

    Raises CheckError if the commit has no readable copy of a package.
    """
    breakages: list[str] = []
    versions: list[str] = []
    for package, source in SOURCES.items():
        try:
            old = griffe.load_git(
                package,
                ref=commit,
                repo=ROOT,
                search_paths=[source],
                resolve_aliases=True,
                allow_inspection=False,
            )
        except (griffe.GriffeError, ImportError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise CheckError(f"cannot load {package} at {tag}: {reason}") from error
        new = griffe.load(
            package, search_paths=[ROOT / source], resolve_aliases=True, allow_inspection=False
        )
        breakages += [
            # Strip the colours, and the line number 0 of removed objects.
            re.sub(r"\x1b\[\d+m|:0(?=:)", "", breakage.explain(griffe.ExplanationStyle.ONE_LINE))
            for breakage in griffe.find_breaking_changes(old, new)
            if "__main__" not in breakage.obj.path  # a command, not importable API
        ]
        if package == "mountsea_banana":
            versions = [
                ast.literal_eval(str(each["_version.__version__"].value)) for each in (old, new)
            ]
    return breakages, versions[0], versions[1]


def next_major(version: str) -> str:
    """Return the lowest version that may break the API of `version`.

    Semantic Versioning allows any change before 1.0.0; by convention, a breaking change then raises
    the second number.
    """
    major, minor = release(version)
    return f"{major + 1}.0.0" if major else f"0.{minor + 1}.0"


def release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version, the ones that can mark a breaking change."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


if __name__ == "__main__":
    sys.exit(main())
