"""Mutation-test the modules that make decisions: a test must catch every small change to them.

    python scripts/mutants.py [MODULE...]

cosmic-ray creates the mutants in copies of the project. `tests/mutants.toml` lists the modules and
their tests, and explains the mutants that no test can catch.

Exit code: 0 if every mutant was killed or is explained; 1 if another one survived (its diff is
printed), or if an explanation no longer applies; 2 if a module is unknown or the tests fail on
unchanged code; 130 if interrupted.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cosmic_ray.commands  # type: ignore[import-untyped]
from attrs import evolve, frozen
from cosmic_ray.mutating import mutate_code  # type: ignore[import-untyped]
from cosmic_ray.operators.exception_replacer import (  # type: ignore[import-untyped]
    ExceptionReplacer,
)
from cosmic_ray.plugins import get_operator  # type: ignore[import-untyped]
from cosmic_ray.work_db import use_db  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent
PACKAGE = Path("wrapper/mountsea_banana")
WORKERS = 2
TEST_SECONDS = 30
"""A mutant with which one test takes longer counts as killed."""
SECONDS = 300.0
"""A mutant with which all its tests take longer counts as killed."""

# The test that caught the previous mutant runs first, because it often catches the next one too.
PYTEST = (
    f"{sys.executable} -m pytest -x -q --failed-first -p pytest_mountsea_banana "
    f"-o faulthandler_timeout={TEST_SECONDS} -o faulthandler_exit_on_timeout=true"
)

SETTINGS = tomllib.loads((ROOT / "tests/mutants.toml").read_text("utf-8"))
EXPLAINED = {
    (entry["module"], line) for entry in SETTINGS["explained"] for line in entry["mutants"]
}


@frozen
class Mutant:
    """One change to a module, and the outcome of the tests with it."""

    module: str
    operator: str
    occurrence: int
    line: str = ""
    """The changed line; `no …` if the line was removed."""
    diff: str = ""
    outcome: str = "no effect"
    """`killed` or `survived`, or `no effect` if the change does not affect the code."""


def main(modules: Sequence[str]) -> int:
    """Test every mutant of `modules` and print the survivors; return the exit code."""
    unknown = [module for module in modules if module not in SETTINGS["modules"]]
    if unknown:
        valid = ", ".join(SETTINGS["modules"])
        print(f"mutants: unknown module {', '.join(unknown)}; valid modules: {valid}")
        return 2
    stop = threading.Event()
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(WORKERS) as pool:
        try:
            return run(modules, Path(scratch).resolve(), pool, stop)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one must not end the clean-up
            print("mutants: interrupted", file=sys.stderr)
            return 130
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def run(
    modules: Sequence[str], scratch: Path, pool: ThreadPoolExecutor, stop: threading.Event
) -> int:
    """Test the mutants of `modules` in `scratch` until `stop` is set; return the exit code."""
    copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
    for number in range(WORKERS):
        copies.put(Copy.create(scratch / f"copy-{number}", stop))

    def passes(tests: str) -> bool:
        with borrowed(copies) as copy:
            return copy.passes(tests)

    def attempt(mutant: Mutant) -> Mutant:
        with borrowed(copies) as copy:
            return copy.attempt(mutant)

    selections = list(dict.fromkeys(SETTINGS["modules"][module] for module in modules))
    for tests, is_passed in zip(selections, pool.map(passes, selections), strict=True):
        if not is_passed:
            print(f"mutants: pytest {tests} fails on unchanged code: fix that first")
            return 2
    mutants = [mutant for module in modules for mutant in find(module, scratch)]
    tried = []
    for mutant in pool.map(attempt, mutants):
        if is_unexplained(mutant):
            print(
                f"{mutant.operator} in {mutant.module}: no test fails\n{mutant.diff}\n", flush=True
            )
        if mutant.outcome != "no effect":
            tried.append(mutant)
    return report(modules, tried)


def find(module: str, scratch: Path) -> Iterator[Mutant]:
    """Yield every mutant that cosmic-ray's operators create from a module."""
    with use_db(scratch / module.replace("/", "-")) as session:
        cosmic_ray.commands.init([ROOT / PACKAGE / f"{module}.py"], session, {})
        for item in session.work_items:
            (change,) = item.mutations
            yield Mutant(module, change.operator_name, change.occurrence)


@frozen
class Copy:
    """A copy of the project, in which one mutant at a time is tested."""

    folder: Path
    stop: threading.Event

    @classmethod
    def create(cls, folder: Path, stop: threading.Event) -> Copy:
        """Copy the project to `folder`. Setting `stop` ends the tests that run in the copy."""
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        copy = cls(folder, stop)
        imports = "import mountsea_banana, mountsea_api; print(mountsea_banana.__file__)"
        command = [sys.executable, "-c", imports]
        output = subprocess.check_output(command, env=copy.environment, text=True)  # noqa: S603
        if Path(output.strip()) != folder / PACKAGE / "__init__.py":
            raise RuntimeError(f"the tests must import the copy in {folder}, but import {output}")
        return copy

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables with which Python imports the copy."""
        return {
            **os.environ,
            "PYTHONPATH": f"{self.folder}/wrapper{os.pathsep}{self.folder}/generated_client",
            "TMPDIR": str(self.folder.parent),  # a test that is killed leaves its files behind
            "PYTHONDONTWRITEBYTECODE": "1",  # two mutants can have the same size and time stamp
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # loading them takes too long
        }

    def attempt(self, mutant: Mutant) -> Mutant:
        """Run the tests with a mutant; return it with its outcome."""
        path = self.folder / PACKAGE / f"{mutant.module}.py"
        source = path.read_text("utf-8")
        changed = mutate_code(source, operator(mutant.operator), mutant.occurrence)
        if changed is None or normalized(changed) in (None, normalized(source)):
            return mutant
        path.write_text(changed, "utf-8")
        try:
            survived = self.passes(SETTINGS["modules"][mutant.module])
        finally:
            path.write_text(source, "utf-8")
        lines = difflib.unified_diff(source.splitlines(), changed.splitlines(), n=1, lineterm="")
        diff = list(lines)[3:]
        return evolve(
            mutant,
            line=changed_line(diff),
            diff="\n".join(diff),
            outcome="survived" if survived else "killed",
        )

    def passes(self, tests: str) -> bool:
        """Return whether all tests pass that pytest selects with the arguments `tests`."""
        with subprocess.Popen(  # noqa: S603
            shlex.split(f"{PYTEST} {tests}"),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as pytest:
            deadline = time.monotonic() + SECONDS
            while pytest.poll() is None and time.monotonic() < deadline:
                if self.stop.wait(0.02):
                    break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pytest.pid, signal.SIGKILL)  # what it started, too
        return pytest.returncode == 0


@contextlib.contextmanager
def borrowed(copies: queue.SimpleQueue[Copy]) -> Iterator[Copy]:
    """Take a copy of the project for a while."""
    copy = copies.get()
    try:
        yield copy
    finally:
        copies.put(copy)


class ReplaceException(ExceptionReplacer):  # type: ignore[misc]
    """cosmic-ray's operator, which fails at a dotted name such as `httpx.InvalidURL` in a tuple."""

    def mutate(self, node: Any, index: int) -> Any:
        self._name_nodes(node)[index].get_last_leaf().value = "CosmicRayTestingException"
        return node


def operator(name: str) -> Any:
    """Return the operator of a name."""
    return ReplaceException() if name == "core/ExceptionReplacer" else get_operator(name)()


def changed_line(diff: Sequence[str]) -> str:
    """Return the added line of a diff, or `no` and the removed one, without indentation."""
    new = " ".join(" ".join(line[1:].split()) for line in diff if line.startswith("+"))
    old = " ".join(" ".join(line[1:].split()) for line in diff if line.startswith("-"))
    return new or f"no {old}"


class _Normalizer(ast.NodeTransformer):
    """Removes parts that have no effect: annotations, and the mark of keyword-only arguments."""

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.defaults += [each for each in node.kw_defaults if each]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        for arg in node.args:
            arg.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


# Until Python 3.12, threads that parse at the same moment share the count of their recursions.
_parsing = threading.Lock()


def normalized(source: str) -> str | None:
    """Return a module's syntax tree, without parts that have no effect; None for invalid code."""
    try:
        with _parsing:
            tree = ast.parse(source)
    except SyntaxError:
        return None
    return ast.dump(_Normalizer().visit(tree))


def is_unexplained(mutant: Mutant) -> bool:
    """Return whether a mutant survived without an explanation in `tests/mutants.toml`."""
    return mutant.outcome == "survived" and (mutant.module, mutant.line) not in EXPLAINED


def report(modules: Sequence[str], mutants: Sequence[Mutant]) -> int:
    """Print the figures of each module and the outdated explanations; return the exit code."""
    survivors = {(each.module, each.line) for each in mutants if each.outcome == "survived"}
    stale = sorted(each for each in EXPLAINED - survivors if each[0] in modules)
    for module, line in stale:
        print(f"{module}: no such survivor; remove it from tests/mutants.toml: {line}")
    print(f"{'module':<22}{'mutants':>9}{'killed':>9}{'explained':>11}{'unexplained':>13}")
    for name, of in [*((module, [module]) for module in modules), ("all", modules)]:
        here = [each for each in mutants if each.module in of]
        killed = sum(each.outcome == "killed" for each in here)
        unexplained = sum(is_unexplained(each) for each in here)
        explained = len(here) - killed - unexplained
        print(f"{name:<22}{len(here):>9}{killed:>9}{explained:>11}{unexplained:>13}")
    return bool(stale or any(is_unexplained(each) for each in mutants))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(SETTINGS["modules"])))
