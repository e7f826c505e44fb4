"""Fetching a file from a URL, only from hosts that the operator named.

A name is resolved once, and the connection goes to the address that was checked; every redirect
is checked like the first URL. So neither a redirect nor a name that changes its address reaches
anything else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

import httpx
from starlette.datastructures import UploadFile

from tsresformer import __version__
from tsresformer.serve.problems import Problem
from tsresformer.serve.settings import Settings

MAX_REDIRECTS = 3
CONNECT_S = 5.0
PORTS = {"http": 80, "https": 443}


class Fetcher:
    """Fetches URLs within the settings' limits."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._allowed = frozenset(host.lower() for host in settings.fetch_hosts)
        self._trust = ssl.create_default_context() if self._allowed else False

    async def fetch(self, url: str, file: UploadFile) -> str:
        """Write what lies at a URL into a file, and return the last part of the URL's path.

        Raises
        ------
        Problem : the host is not allowed, the file is too large, or it cannot be had
        """
        settings = self._settings
        timeout = httpx.Timeout(settings.body_stall_s, connect=CONNECT_S)
        try:
            async with asyncio.timeout(settings.body_s):
                async with httpx.AsyncClient(
                    timeout=timeout, trust_env=False, verify=self._trust
                ) as client:
                    for _ in range(MAX_REDIRECTS + 1):
                        location = await self._get(client, url, file)
                        if location is None:
                            return unquote(urlsplit(url).path)
                        url = location
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise _failed(type(error).__name__) from None
        raise _failed(f"more than {MAX_REDIRECTS} redirects")

    async def _get(self, client: httpx.AsyncClient, url: str, file: UploadFile) -> str | None:
        """Fetch one URL; return where it redirects to, if it does."""
        request = await self._request(client, url)
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if response.has_redirect_location:
                return str(httpx.URL(url).join(response.headers["location"]))
            if response.status_code != 200:
                raise _failed(f"the host answered {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _failed("the host sent it compressed")
            n_bytes, most = 0, self._settings.upload_bytes
            async for chunk in response.aiter_raw():
                n_bytes += len(chunk)
                if n_bytes > most:
                    raise Problem("too-large", f"the file exceeds {most / 2**20:.4g} MiB")
                await file.write(chunk)
            return None
        finally:
            await response.aclose()

    async def _request(self, client: httpx.AsyncClient, url: str) -> httpx.Request:
        """Check a URL, and address a request for it to the address that was checked."""
        try:
            url.encode()  # JSON may hold one half of a surrogate pair, which no request can
            parts = urlsplit(url)
            scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        except ValueError:
            raise Problem("bad-request", "the URL is malformed") from None
        if scheme not in PORTS or not host or parts.username is not None:
            what = "the URL must be http:// or https:// with a host and no user"
            raise Problem("bad-request", what)
        port = port or PORTS[scheme]
        name = f"[{host}]" if ":" in host else host
        full, default = f"{name}:{port}", port == PORTS[scheme]
        if full not in self._allowed and not (default and name in self._allowed):
            raise _not_allowed("the operator of this service does not allow that host")
        address = await resolve(host, port)
        target = httpx.URL(url).copy_with(host=address, port=port, fragment=None)
        headers = {
            "host": name if default else full,
            "accept-encoding": "identity",
            "user-agent": f"ts-resformer/{__version__}",
        }
        return client.build_request(
            "GET", target, headers=headers, extensions={"sni_hostname": host}
        )


async def resolve(host: str, port: int) -> str:
    """Address of a host: a public one, unless the host is an address itself.

    Raises
    ------
    Problem : any of its addresses is private, local or otherwise special, or it has none
    """
    try:
        return str(ipaddress.ip_address(host))  # the operator allowed this very address
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise _failed("the host has no address") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not is_public(addresses):
        raise _not_allowed("the host leads to an address that is not public")
    return addresses[0]


def is_public(addresses: Sequence[str]) -> bool:
    """Whether there are addresses, and all of them belong to the public network."""
    parsed = [ipaddress.ip_address(address.partition("%")[0]) for address in addresses]
    return bool(parsed) and all(_is_public(address) for address in parsed)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return _is_public(inner)
        if address.teredo is not None or address in ipaddress.ip_network("64:ff9b::/96"):
            return False
    return address.is_global and not address.is_multicast


def _failed(why: str) -> Problem:
    return Problem("fetch-failed", f"the URL cannot be fetched: {why}")


def _not_allowed(why: str) -> Problem:
    return Problem("host-not-allowed", why)
