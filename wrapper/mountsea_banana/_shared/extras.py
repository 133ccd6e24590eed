"""What is said where a part of the package is used whose libraries were not installed."""

from __future__ import annotations


def missing(error: ImportError, extra: str) -> str:
    """Return what is missing, and the extra that brings it."""
    return f"{error.name} is missing: pip install 'mountsea-banana[{extra}]'"
