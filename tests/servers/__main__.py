"""Run the contract tests against the bank: every honest server, then each with one mistake.

Prints what the contract tests say of every server, and the totals of each framework. An honest
server gets the whole plan, the others a part of it. The exit code is 1 if an honest server fails.
Servers that run in Node are left out unless `npm ci` has installed their packages.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from attrs import define, evolve
from mountsea_banana.contract import Contract
from mountsea_banana.harness.__main__ import _keys
from mountsea_banana.harness._case import COMBINATIONS, Case
from mountsea_banana.harness._outcome import Outcome
from mountsea_banana.harness._plan import Plan, make_plan
from mountsea_banana.harness._run import CannotTest, Run
from mountsea_banana.harness._transport import Server

from . import DEFECTS, FOLDER, NODE_NAMES, PYTHON_NAMES, running


@define
class Totals:
    """What the contract tests said of one framework's servers."""

    alarms: int = 0
    warned: int = 0
    tried: int = 0
    caught: int = 0
    single: int = 0

    def __str__(self) -> str:
        return (
            f"caught {self.caught} of {self.tried}, {self.single} of them as a single cause, "
            f"warned of {self.warned} more; false alarms {self.alarms}"
        )


def outcome_of(plan: Plan, name: str, defect: str = "") -> Outcome | None:
    """Return the outcome of a plan; None if the server cannot be tested at all."""
    with running(name, defect) as url:
        server = Server(url, _keys("test-token", "other-token"))
        try:
            return Run(plan, server, has_other_key=True).execute()
        except CannotTest:
            return None


def thinned(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Return the cases with a third of the combinations, which take most of the time."""
    combinations = [case for case in cases if case.check == COMBINATIONS]
    return (*(case for case in cases if case.check != COMBINATIONS), *combinations[::3])


def main() -> int:
    """Print a line for each server and each framework; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers", description=__doc__)
    has_packages = (FOLDER / "node_modules").is_dir()
    names = (*PYTHON_NAMES, *(NODE_NAMES if has_packages else ()))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--honest", action="store_true", help="leave the mistakes out")
    options = parser.parse_args()
    plan = make_plan(Contract.load(), 1)
    part = evolve(plan, groups=tuple(thinned(group) for group in plan.groups))
    totals = {name: Totals() for name in options.names or names}
    for name, counts in totals.items():
        outcome = outcome_of(plan, name)
        titles = [cause.title for cause in outcome.causes] if outcome else ["cannot be tested"]
        known = [cause.id for cause in outcome.warnings] if outcome else []
        counts.alarms += bool(titles or outcome is None or outcome.missing)
        print(name, "honest", "; ".join(titles) or "conforms", sep=" | ", flush=True)
        for defect in () if options.honest else DEFECTS[name]:
            outcome = outcome_of(part, name, defect.title)
            causes = outcome.causes if outcome else ()
            counts.tried += 1
            counts.caught += bool(causes)
            counts.single += len(causes) == 1
            new = [each.id for each in outcome.warnings if each.id not in known] if outcome else []
            counts.warned += bool(new and not causes)
            said = "; ".join([*(cause.id for cause in causes), *new])
            missing = outcome.missing if outcome else "it cannot be tested"
            said = said or (f"inconclusive: {missing}" if missing else "missed")
            print(name, defect.title, len(causes), said, sep=" | ", flush=True)
    for name, counts in totals.items():
        print(f"{name}: {counts}")
    print(f"all: {Totals(*map(sum, zip(*map(_figures, totals.values()), strict=True)))}")
    return int(any(counts.alarms for counts in totals.values()))


def _figures(totals: Totals) -> tuple[int, ...]:
    return totals.alarms, totals.warned, totals.tried, totals.caught, totals.single


if __name__ == "__main__":
    sys.exit(main())
