"""Where a request comes from: which name the client used, and which page sent it."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from app.access.mode import is_loopback
from app.settings import Settings

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
"""A host and perhaps a port, and nothing that would make another address of what is built of it."""


def host_name(host: str) -> str:
    """Return the name in a Host header, without port and brackets, in small letters."""
    if _HOST.fullmatch(host) is None:
        return ""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def public_host(settings: Settings) -> str:
    """Return the name under which browsers know this server; empty where none is set."""
    return host_name(urlsplit(settings.public_url).netloc)


def own_address(settings: Settings, scope: Scope) -> str:
    """Return the address of this server as browsers know it, without a slash at its end.

    It was checked that the host of a request is a name of this server.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    return f"{scope['scheme']}://{Headers(scope=scope).get('host', '')}"


def is_known_host(host: str, allowed: tuple[str, ...], own: frozenset[str]) -> bool:
    """Tell whether a client may call this server by a name.

    A page of a stranger can have its own name lead to this server (DNS rebinding), and then
    speak to it as if they were one. It cannot do so with an address, nor with a name that the
    network of the hospital alone knows.

    Args:
        host: The Host header.
        allowed: Names of the settings; with any, no others are known but this machine's own.
        own: Names of this machine.
    """
    name = host_name(host)
    if not name:
        return False
    if is_loopback(name) or name in own:
        return True
    if allowed:
        return name in {entry.lower() for entry in allowed}
    return _is_address(name) or "." not in name


def is_own_page(headers: Mapping[str, str], allowed: tuple[str, ...], *, is_browser: bool) -> bool:
    """Tell whether a request that changes something was sent by a page of this server.

    Args:
        headers: Headers of the request.
        allowed: Origins of the settings whose pages may, too.
        is_browser: Whether the sender is a browser for certain, which always says where a
            change comes from; other programs do not.
    """
    origin = headers.get("origin")
    came_from = headers.get("sec-fetch-site")
    if origin is None or (origin == "null" and came_from):
        return came_from in ("same-origin", "none") if came_from or is_browser else True
    if origin in allowed or ("*" in allowed and not is_browser):
        return True
    try:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
