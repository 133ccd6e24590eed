"""The contract: the vendor's spec, plus an overlay with the rules that it states only in prose.

Needs the `mock` extra.
"""

from mountsea_banana._shared.extras import missing

try:
    from ._contract import Contract
    from ._errors import ContractError
    from ._operations import METHODS, Operation, Parameter
    from ._rules import RULE_ID, Rule, resolve
    from ._samples import sample
    from ._schemas import Problem, Schema
except ImportError as error:
    raise ImportError(missing(error, "mock"), name=error.name) from error

__all__ = [
    "METHODS",
    "RULE_ID",
    "Contract",
    "ContractError",
    "Operation",
    "Parameter",
    "Problem",
    "Rule",
    "Schema",
    "resolve",
    "sample",
]
