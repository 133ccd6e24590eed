"""Which hosts are this machine, and which may be reached without encryption."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def allows_http() -> bool:
    """Return whether the user allows unencrypted requests to other machines."""
    return os.environ.get("MOUNTSEA_ALLOW_HTTP") == "1"


def is_plain_loopback(url: str) -> bool:
    """Return whether a URL is unencrypted http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")
