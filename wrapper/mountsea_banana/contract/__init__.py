"""The contract: the vendor's spec, plus an overlay with the rules that it states only in prose.

Needs the `mock` extra.
"""

from mountsea_banana._shared.extras import missing

try:
    from ._contract import Contract, Rule
    from ._errors import ContractError
    from ._operations import METHODS, RULES_SCHEMA, Operation, Parameter
    from ._overlay import apply_overlay
    from ._samples import sample
    from ._schemas import Problem, Schema, resolve
except ImportError as error:
    raise ImportError(missing(error, "mock"), name=error.name) from error

__all__ = [
    "METHODS",
    "RULES_SCHEMA",
    "Contract",
    "ContractError",
    "Operation",
    "Parameter",
    "Problem",
    "Rule",
    "Schema",
    "apply_overlay",
    "resolve",
    "sample",
]
