"""Generate the synchronous client from the asynchronous one, or check that it is current.

    python scripts/generate_sync.py           regenerate the modules
    python scripts/generate_sync.py --check   list the modules that differ; change nothing

The two clients have the same signatures and docstrings, which are written only once.

Exit code: 0 on success, 1 if `--check` finds a difference.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = Path("wrapper") / "mountsea_banana"
MODULES = {
    "client/_async_client.py": "client/_client.py",
    "client/_async_submitter.py": "client/_submitter.py",
    "client/_async_tasks.py": "client/_tasks.py",
    "ledger/_async_once.py": "ledger/_once.py",
}

REPLACEMENTS = (
    (
        "An asynchronous client for Mountsea's Nano Banana image API, for one event loop.",
        "A client for Mountsea's Nano Banana image API.",
    ),
    ("\n        An awaitable that `on_update` returns is awaited.", ""),
    (
        r"^\"\"\"(The asynchronous client|What an asynchronous client can submit"
        r"|Asynchronous tasks and their results|Asynchronous submissions through a ledger)\.\"\"\"",
        r'"""\1, generated from SOURCE by `make generate`."""',
    ),
    (r"\bThe asynchronous\b", "The synchronous"),
    (r"\bAsynchronous\b", "Synchronous"),
    (r"\b([Aa])n asynchronous\b", r"\1 synchronous"),
    (r"\basync def\b", "def"),
    (r"\(await (.+?)\)\.", r"\1."),
    (r"\bawait ", ""),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"\baclose\b", "close"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\b_async_(?=driver|submitter|tasks)", "_"),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare; write nothing")
    check = parser.parse_args(arguments).check
    outdated = []
    for source, target in MODULES.items():
        module = convert((ROOT / PACKAGE / source).read_text("utf-8"), source)
        if check and module != (ROOT / PACKAGE / target).read_text("utf-8"):
            outdated.append(target)
        elif not check:
            (ROOT / PACKAGE / target).write_text(module, "utf-8")
    for target in outdated:
        print(f"check-generated: {target} doesn't match its source: run `make generate`")
    return int(bool(outdated))


def convert(module: str, source: str) -> str:
    """Return an asynchronous module as a synchronous one, formatted."""
    for old, new in REPLACEMENTS:
        pattern = old if old.startswith((r"\b", "^", r"\(", "__")) else re.escape(old)
        module = re.sub(pattern, new, module, flags=re.MULTILINE)
    module = module.replace("SOURCE", Path(source).name)
    for command in (("check", "--select=I", "--fix"), ("format",)):
        options = ("--quiet", "--config", str(ROOT / "pyproject.toml"))
        ruff = [
            sys.executable,
            "-m",
            "ruff",
            *command,
            *options,
            "--stdin-filename",
            str(PACKAGE / source),
            "-",
        ]
        module = subprocess.run(  # noqa: S603
            ruff, input=module, capture_output=True, encoding="utf-8", check=True, cwd=ROOT
        ).stdout
    return module


if __name__ == "__main__":
    sys.exit(main())
