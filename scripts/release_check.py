"""List what is missing for a release, from the settings in `[tool.release]` of pyproject.toml.

    python scripts/release_check.py [--write]

`--write` first brings the settings into the pages and workflows: the repository, and how to install
the package. Exit code: 0 if nothing is missing; 1 otherwise.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NAME = "mountsea-banana"
PLACEHOLDER = "OWNER"

INSTALL = re.compile(
    rf"pip install (?P<quote>['\"]?)(?:\.|{NAME})(?P<extras>\[[a-z,]+\])?"
    r"(?P<origin> @ git\+https://github\.com/[\w.-]+/[\w.-]+)?(?P=quote)(?=[\s`]|$)",
    re.MULTILINE,
)
REPOSITORY = re.compile(rf"(github\.com/|uses: |default: )[\w.-]+/{NAME}\b")
UNRELEASED = re.compile("There is no release yet|until there is a release|还没有正式发布")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="bring the settings into the pages")
    if parser.parse_args(arguments).write:
        for page in pages():
            page.write_text(updated(page), "utf-8")
    missing = [*documents(), *repository()]
    for line in missing:
        print(f"missing: {line}")
    if not missing:
        print("release-check: nothing is missing; tests/test_package.py has tested the wheel")
    return bool(missing)


def settings() -> dict[str, Any]:
    """Return the table `[tool.release]`."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return dict(found["tool"]["release"])


def pages() -> list[Path]:
    """Return the files that name the repository or say how to install the package."""
    patterns = ("README*.md", "docs/*.md", ".github/workflows/*.yml")
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def updated(page: Path) -> str:
    """Return the text of a page with the settings."""
    release = settings()

    def install(line: re.Match[str]) -> str:
        extras, origin = line["extras"] or "", line["origin"]
        if release["on-index"]:
            what = NAME + extras
        elif origin:
            what = f"{NAME}{extras} @ git+https://github.com/{release['repository']}"
        else:
            what = f".{extras}"
        return f"pip install '{what}'" if extras or origin else f"pip install {what}"

    text = REPOSITORY.sub(rf"\g<1>{release['repository']}", page.read_text("utf-8"))
    return INSTALL.sub(install, text)


def documents() -> Iterator[str]:
    """Yield what is missing in the settings, the pages and the changelog."""
    release = settings()
    if release["repository"].startswith(f"{PLACEHOLDER}/"):
        yield "the repository in [tool.release] of pyproject.toml"
    if not release["on-index"]:
        yield "on-index = true in [tool.release]: the pages install from a clone"
    for page in pages():
        name, text = page.relative_to(ROOT), page.read_text("utf-8")
        if updated(page) != text:
            yield f"{name} differs from [tool.release]: run make release-check WRITE=1"
        if UNRELEASED.search(text):
            yield f"{name} says that there is no release"
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## \[{re.escape(version())}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M):
        yield f"a heading with a date for {version()} in CHANGELOG.md"


def repository() -> Iterator[str]:
    """Yield what is missing in git, and what the wheel does not do."""
    if git("status", "--porcelain"):
        yield "a commit of your changes"
    if f"v{version()}" not in git("tag", "--points-at", "HEAD").split():
        yield f"the tag v{version()} on this commit"
    tests = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests/test_package.py")]
    if subprocess.run(tests, cwd=ROOT, capture_output=True, check=False).returncode:  # noqa: S603
        yield "a wheel that passes tests/test_package.py"


def version() -> str:
    """Return the version of the package."""
    text = (ROOT / "wrapper/mountsea_banana/_version.py").read_text("utf-8")
    return text.split('"')[1]


def git(*arguments: str) -> str:
    """Return the output of a git command."""
    command = ["git", *arguments]
    return subprocess.check_output(command, cwd=ROOT, encoding="utf-8")  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
