"""Run the tests in environments unlike that of their authors.

    python scripts/environments.py [NAMES...] [-- ARGUMENTS OF PYTEST...]

Without names, it tries every environment. Without arguments, it runs the tests that an environment
can affect. Exit code: 0 if they pass everywhere; 1 if a test fails; 2 if an environment is unknown.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import field, frozen

ROOT = Path(__file__).parent.parent
NOWHERE = "http://127.0.0.1:9"
# Tests that take long, of what no environment affects.
UNAFFECTED = (
    *("servers", "contract/test_causes.py", "contract/test_harness.py"),
    *("contract/test_new_operations.py", "contract/test_rules_agree.py"),
    *("contract/test_shrink.py", "contract/test_siblings.py", "test_check_api.py"),
    *("test_decisions.py", "test_ledger_crash.py", "test_money.py", "test_types.py"),
)


@frozen
class Environment:
    """How an environment differs from this one."""

    set: dict[str, str] = field(factory=dict)
    unset: tuple[str, ...] = ()
    umask: int = -1
    """-1 to keep this one's."""
    folder: str = ""
    """The name of the folder of a clone to run in; empty to run here."""
    user: str = ""


ENVIRONMENTS = {
    "no-color": Environment({"NO_COLOR": "1"}),
    "force-color": Environment({"FORCE_COLOR": "1"}),
    "no-term": Environment(unset=("TERM",)),
    "dumb-term": Environment({"TERM": "dumb"}),
    "ascii": Environment(
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ),
    "narrow": Environment({"COLUMNS": "40", "LINES": "10"}),
    "proxies": Environment(
        {
            name: NOWHERE
            for scheme in ("http", "https", "all")
            for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper())
        },
        unset=("no_proxy", "NO_PROXY"),
    ),
    "settings": Environment(
        {
            "MOUNTSEA_API_KEY": "sk-of-the-developer",
            "MOUNTSEA_OTHER_API_KEY": "sk-of-another-account",
            "MOUNTSEA_BASE_URL": f"{NOWHERE}/of-the-developer",
            "MOUNTSEA_ALLOW_HTTP": "1",
            "MOUNTSEA_LEDGER": "/proc/ledger.db",
            "MOCK_API_KEYS": "sk-of-the-mock",
        }
    ),
    "github": Environment(
        {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": "/proc/summary.md"}
    ),
    "warnings": Environment({"PYTHONWARNINGS": "error"}),
    "no-home": Environment(
        unset=("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
    ),
    "private-umask": Environment(umask=0o077),
    "odd-folder": Environment(folder="Mes images à moi (2) 香蕉"),
    "other-user": Environment(folder="clone", user="nobody"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the tests in the named environments, or in all; return the exit code."""
    names, options = split(arguments)
    unknown = [name for name in names if name not in ENVIRONMENTS]
    if unknown:
        print(f"environments: unknown: {', '.join(unknown)}. Valid: {', '.join(ENVIRONMENTS)}")
        return 2
    failed = []
    for name in names or ENVIRONMENTS:
        environment = ENVIRONMENTS[name]
        if environment.user and os.geteuid() != 0:
            print(f"{name}: skipped, because only root can become another user", flush=True)
            continue
        try:
            with place(environment) as folder:
                code, output = run(environment, folder, options)
        except PermissionError as error:
            print(f"{name}: skipped, because {environment.user} may not use {error.filename}")
            continue
        print(f"{name}: {output if code else output.splitlines()[-1]}", flush=True)
        if code:
            failed.append(name)
    if failed:
        print(f"environments: tests failed in {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split arguments into names and the arguments of pytest, which follow `--`."""
    names = list(arguments)
    at = names.index("--") if "--" in names else len(names)
    return names[:at], names[at + 1 :] or [f"--ignore=tests/{path}" for path in UNAFFECTED]


@contextlib.contextmanager
def place(environment: Environment) -> Iterator[Path]:
    """Yield the folder to run in: this one, or a clone of its last commit."""
    if not environment.folder:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as parent:
        clone = Path(parent, environment.folder)
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)  # noqa: S603, S607
        (clone / ".venv").symlink_to((ROOT / ".venv").resolve())
        if environment.user:
            Path(parent).chmod(0o755)
            user = pwd.getpwnam(environment.user)
            for path in (clone, *clone.rglob("*")):
                os.lchown(path, user.pw_uid, user.pw_gid)
        yield clone


def run(environment: Environment, folder: Path, options: Sequence[str]) -> tuple[int, str]:
    """Run the tests in an environment; return pytest's exit code and its output."""
    kept = {name: value for name, value in os.environ.items() if name not in environment.unset}
    sources = os.pathsep.join(str(folder / name) for name in ("wrapper", "generated_client"))
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=short", *options]
    with tempfile.TemporaryDirectory() as home:
        user = pwd.getpwnam(environment.user) if environment.user else None
        if user:
            os.chown(home, user.pw_uid, user.pw_gid)
            kept |= {"HOME": home, "TMPDIR": home}
        ran = subprocess.run(  # noqa: S603
            command,
            cwd=folder,
            env={**kept, "PYTHONPATH": sources, **environment.set},
            umask=environment.umask,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    return ran.returncode, ran.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
