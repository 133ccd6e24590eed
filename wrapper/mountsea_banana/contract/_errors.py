"""The error for a contract that cannot be used."""

from __future__ import annotations


class ContractError(Exception):
    """The spec or the overlay cannot be used; the message states which one and why."""
