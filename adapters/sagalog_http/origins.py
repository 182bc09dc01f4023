"""Host and Origin: the names that a server answers under, and the pages that may call it.

Rule: both are looked at first, on every route. [HTTP-2] A page that rebinds its own name to this machine sends that
name as Host; so a name has to be known, while an address, which no page can rebind, does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

from sagalog_http.errors import BadRequest, HostRefused, OriginRefused

_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._~-]+))(?::([0-9]{1,5}))?")


class Origins:
    """The hosts and origins of one server.

    Args:
        hosts: names besides those of loopback, as in `queue.example` or, with a port, `queue.example:8080`.
        origins: as in `https://app.example`, `http://localhost:*`, `app://*`; `*` alone: every page.

    Raises:
        ValueError: a host or an origin has another form.
    """

    def __init__(self, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self._hosts = {_checked_host(host) for host in hosts}
        self._origins = [_pattern(origin) for origin in origins]

    def check_host(self, given: list[str]) -> str:
        """Return the host of a request; raises BadRequest, HostRefused."""
        if len(given) != 1:
            raise BadRequest("a request has one header Host")
        host = given[0].lower()
        match = _HOST.fullmatch(host)
        if match is None:
            raise HostRefused("the header Host is no name or address; look at the URL of the request")
        name = (match[2] or "").rstrip(".")
        if match[1] is not None or _is_address(name) or name == "localhost" or name.endswith(".localhost"):
            return host
        if name in self._hosts or f"{name}:{match[3]}" in self._hosts:
            return host
        raise HostRefused(
            f"this server does not answer under the name {name!r}; use its address, or add the name to its hosts"
        )

    def check_origin(self, given: list[str], host: str) -> str | None:
        """Return the origin of a request, which may call; None: it has none; raises BadRequest, OriginRefused."""
        if not given:
            return None
        if len(given) > 1:
            raise BadRequest("a request has one header Origin at most")
        origin = given[0].lower()
        if origin in (f"http://{host}", f"https://{host}") or any(one.fullmatch(origin) for one in self._origins):
            return given[0]
        raise OriginRefused("pages of this origin may not call this server; add it to its origins if they may")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _checked_host(given: str) -> str:
    if _HOST.fullmatch(given) is None:
        raise ValueError(f"a host is a name or a name and a port, as in queue.example:8080, not {given!r}")
    return given.lower().rstrip(".")


def _pattern(given: str) -> re.Pattern[str]:
    """Make a pattern of an origin; `*` is any text without a slash."""
    if given != "*" and given != "null" and not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+", given):
        raise ValueError(f"an origin is as in https://app.example, http://localhost:* or app://*, not {given!r}")
    if given == "*":
        return re.compile(r".*", re.DOTALL)
    return re.compile("[^/]*".join(map(re.escape, given.lower().split("*"))))
