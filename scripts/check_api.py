"""Say whether the next release must be a major one: compare the public names with the last tag's.

    python scripts/check_api.py [--against TAG]

griffe compares what users can import of both packages: names that are gone, parameters that are
gone, moved, required or of another default. It does not compare annotations; of the values that a
type allows, `make spec-diff` tells. Exits with 0 where nothing breaks, where the version is that of
a major release already, or where there is no tag; 1 where the version must be raised; 2 where there
is nothing to compare with.
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
    """Why nothing can be compared, in one line for a person."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", metavar="TAG", help="a git reference; the last release's tag")
    tag = parser.parse_args(arguments).against or last_tag()
    if not tag:
        print("check-api: there is no release tag yet, so nothing to compare with")
        return 0
    try:
        commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{tag}^{{commit}}")
        if not commit:
            raise CheckError(f"{tag!r} is no tag or commit of this repository")
        with contextlib.chdir(ROOT):  # griffe's lines name files from here
            breakages, old, new = compare(commit, tag)
    except CheckError as error:
        print(f"check-api: {error}", file=sys.stderr)
        return 2
    for breakage in breakages:
        print(f"breaking: {breakage}")
    if not breakages:
        print(f"check-api: nothing breaks since {tag}")
        return 0
    needed = next_major(old)
    if release(new) >= release(needed):
        print(f"check-api: these break since {tag}, and {new} is a major release: go ahead")
        return 0
    print(f"check-api: the release after {tag} must be major: {needed}, and _version.py says {new}")
    return 1


def last_tag() -> str:
    """Return the tag of the last release, this commit's own too; empty where there is none."""
    return git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")


def git(*arguments: str) -> str:
    """Return what git answers; empty where it refuses."""
    command = ["git", *arguments]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() if answer.returncode == 0 else ""


def compare(commit: str, tag: str) -> tuple[list[str], str, str]:
    """Return what breaks between a commit and the working tree, and the versions of both."""
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
            said = " ".join(str(error).split())
            raise CheckError(f"{tag} has no {package} that can be read: {said}") from error
        new = griffe.load(
            package, search_paths=[ROOT / source], resolve_aliases=True, allow_inspection=False
        )
        breakages += [
            # Without the colours, and without the line 0 of what is gone.
            re.sub(r"\x1b\[\d+m|:0(?=:)", "", breakage.explain(griffe.ExplanationStyle.ONE_LINE))
            for breakage in griffe.find_breaking_changes(old, new)
            if "__main__" not in breakage.obj.path  # a command, which nobody imports
        ]
        if package == "mountsea_banana":
            versions = [
                ast.literal_eval(str(each["_version.__version__"].value)) for each in (old, new)
            ]
    return breakages, versions[0], versions[1]


def next_major(version: str) -> str:
    """Return the first version that may break what `version` promised.

    Before 1.0.0 Semantic Versioning promises nothing; there, as users expect, the second number
    tells of a break.
    """
    major, minor = release(version)
    return f"{major + 1}.0.0" if major else f"0.{minor + 1}.0"


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version that may tell of a break: the first two."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


if __name__ == "__main__":
    sys.exit(main())
