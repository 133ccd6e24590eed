"""The result of a run."""

from __future__ import annotations

from collections import Counter

from attrs import field, frozen

from ._case import Case
from ._causes import Cause
from ._plan import Plan
from ._transport import Response

# A rule counts as untested if fewer of the bodies sent violate that rule and nothing else.
MIN_CASES_PER_RULE = 20


@frozen
class Outcome:
    """The result of a run."""

    plan: Plan
    base_url: str
    causes: tuple[Cause, ...]
    """The violations of the contract."""
    warnings: tuple[Cause, ...]
    """What looks wrong although the contract does not forbid it."""
    sent: tuple[tuple[Case, Response], ...] = field(repr=False)
    """Every case that was sent and its response, in order."""
    skipped: tuple[str, ...]
    """What was not tested and why, one line each."""
    stopped: str
    """Why the run ended early, or empty if it did not."""
    missing: str
    """What the run has not seen and without which it says nothing, or empty."""
    accepted: int
    """The number of submissions that the server accepted or may have accepted."""
    seconds: float

    def sole_violations(self) -> Counter[str]:
        """Return the number of bodies sent that violate only one thing, by that violation."""
        return Counter(
            next(iter(case.expectation.reasons))
            for case, response in self.sent
            if response.status != 429 and len(case.expectation.reasons) == 1
        )

    def untested_rules(self) -> list[str]:
        """Return the ids of the rules that too few bodies tested."""
        needed: dict[str, int] = {}
        for operation in self.plan.contract.operations:
            # A parameter has few invalid values, and a rule about it no combinations.
            needed |= {rule.id: 1 for each in operation.parameters for rule in each.schema.rules}
            body_rules = operation.request.rules if operation.request else ()
            needed |= {rule.id: MIN_CASES_PER_RULE for rule in body_rules}
        counts = self.sole_violations()
        return [rule for rule, number in needed.items() if counts[rule] < number]
