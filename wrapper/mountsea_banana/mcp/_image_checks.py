"""Checking source images at public addresses only.

An agent may be made to pass any URL. A request to a private address could reach what only this
machine can reach.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import httpx

from mountsea_banana.client import _image_checks, _network
from mountsea_banana.client._async_driver import run
from mountsea_banana.client._settings import DEFAULT_TIMEOUT
from mountsea_banana.client._steps import DownloadAll, Step
from mountsea_banana.rules._violations import Violation

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_ALLOCATED = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 addresses in use on the public internet."""
_6TO4 = ipaddress.IPv6Network("2002::/16")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def check_images(urls: Sequence[str], *, allows_private: bool) -> list[Violation]:
    """Return a violation for each image that cannot be used."""
    options = {} if allows_private else {"transport": PublicTransport()}
    client = _network.make_public_client(httpx.AsyncClient, DEFAULT_TIMEOUT, **options)
    async with client:

        async def perform(step: Step) -> object:
            assert isinstance(step, DownloadAll)  # noqa: S101
            downloads = (_network.download_async(client, each) for each in step.downloads)
            return await asyncio.gather(*downloads)

        return await run(_image_checks.check_images(urls), perform)


class PublicTransport(httpx.AsyncHTTPTransport):
    """A transport that connects to public addresses only, after redirects as well.

    It connects to the address that it has checked, because a second look-up of the name could
    return another one.
    """

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises ConnectError if its host has an address that is not public."""
        host = request.url.host
        addresses = await _look_up(host, request)
        if not all(map(is_public, addresses)):
            raise httpx.ConnectError(f"{host} is not at a public address", request=request)
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=str(addresses[0])),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )
        return await super().handle_async_request(pinned)


def is_public(address: Address) -> bool:
    """Return whether an address belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:  # leads to an IPv4 address
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address not in _ALLOCATED or address in _6TO4:
            return False
    return address.is_global and not address.is_multicast


async def _look_up(host: str, request: httpx.Request) -> list[Address]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return [ipaddress.ip_address(entry[4][0]) for entry in found]
    except (OSError, UnicodeError, ValueError) as error:
        raise httpx.ConnectError(f"{host} cannot be looked up", request=request) from error
