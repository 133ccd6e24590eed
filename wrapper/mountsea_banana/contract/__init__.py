"""The contract: the vendor's spec, and the overlay with the rules that it states only in prose."""

from mountsea_banana._shared.extras import missing

try:
    from ._contract import (
        METHODS,
        RULES_SCHEMA,
        Contract,
        ContractError,
        Operation,
        Parameter,
        Problem,
        Rule,
        Schema,
        apply_overlay,
        resolve,
    )
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
]
