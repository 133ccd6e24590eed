"""Mutation-test the modules that make decisions: a test must catch every small change to them.

    python scripts/mutants.py [MODULE...]

cosmic-ray creates the mutants in copies of the project. `tests/mutants.toml` lists the modules and
their tests, and explains the mutants that no test can catch.

Exit code: 0 if every mutant was killed or is explained; 1 if another one survived (its diff is
printed), or if an explanation no longer applies; 2 if a module is unknown or the tests fail on
unchanged code.
"""

from __future__ import annotations

import ast
import difflib
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cosmic_ray.commands  # type: ignore[import-untyped]
from attrs import evolve, frozen
from cosmic_ray.mutating import mutate_code  # type: ignore[import-untyped]
from cosmic_ray.plugins import get_operator  # type: ignore[import-untyped]
from cosmic_ray.testing import run_tests  # type: ignore[import-untyped]
from cosmic_ray.work_db import use_db  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent
PACKAGE = Path("wrapper/mountsea_banana")
WORKERS = 2
TIMEOUT = 60.0
"""Seconds for the tests of one mutant. A mutant that takes longer counts as killed."""

SETTINGS = tomllib.loads((ROOT / "tests/mutants.toml").read_text("utf-8"))
EXPLAINED = {
    (entry["module"], line) for entry in SETTINGS.get("explained", []) for line in entry["mutants"]
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
    with tempfile.TemporaryDirectory() as scratch:
        mutants = [mutant for module in modules for mutant in find(module, scratch)]
        with ProcessPoolExecutor(WORKERS, initializer=start, initargs=(scratch,)) as pool:
            if not pool.submit(survives).result():
                print(f"mutants: {SETTINGS['tests']} fails on unchanged code: fix that first")
                return 2
            tried = []
            for mutant in pool.map(attempt, mutants):
                if is_unexplained(mutant):
                    print(
                        f"{mutant.operator} in {mutant.module}: no test fails\n{mutant.diff}\n",
                        flush=True,
                    )
                if mutant.outcome != "no effect":
                    tried.append(mutant)
    return report(modules, tried)


def find(module: str, scratch: str) -> Iterator[Mutant]:
    """Yield every mutant that cosmic-ray's operators create from a module."""
    with use_db(Path(scratch, module.replace("/", "-"))) as session:
        cosmic_ray.commands.init([ROOT / PACKAGE / f"{module}.py"], session, {})
        for item in session.work_items:
            (change,) = item.mutations
            yield Mutant(module, change.operator_name, change.occurrence)


def start(scratch: str) -> None:
    """Copy the project for a worker, and make its tests import the copy."""
    copy = Path(scratch, f"copy-{os.getpid()}").resolve()
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    os.chdir(copy)
    os.environ["PYTHONPATH"] = f"{copy}/wrapper{os.pathsep}{copy}/generated_client"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # loading them takes too long
    imports = "import mountsea_banana, mountsea_api; print(mountsea_banana.__file__)"
    _, output = run_tests(f'{sys.executable} -c "{imports}"', TIMEOUT)
    if Path(output.strip()) != copy / PACKAGE / "__init__.py":
        raise RuntimeError(f"the tests must import the copy in {copy}, but import {output}")


def attempt(mutant: Mutant) -> Mutant:
    """Run the tests with a mutant; return it with its outcome."""
    path = PACKAGE / f"{mutant.module}.py"
    source = path.read_text("utf-8")
    changed = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    if changed is None or normalized(changed) in (None, normalized(source)):
        return mutant
    path.write_text(changed, "utf-8")
    try:
        survived = survives()
    finally:
        path.write_text(source, "utf-8")
    diff = list(difflib.unified_diff(source.splitlines(), changed.splitlines(), n=1, lineterm=""))
    return evolve(
        mutant,
        line=changed_line(diff[3:]),
        diff="\n".join(diff[3:]),
        outcome="survived" if survived else "killed",
    )


def survives() -> bool:
    """Return whether all tests pass."""
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {SETTINGS['tests']}"
    outcome, _ = run_tests(command, TIMEOUT)
    return bool(outcome == "survived")


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


def normalized(source: str) -> str | None:
    """Return a module's syntax tree, without parts that have no effect; None for invalid code."""
    try:
        return ast.dump(_Normalizer().visit(ast.parse(source)))
    except SyntaxError:
        return None


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
    sys.exit(main(sys.argv[1:] or SETTINGS["modules"]))
