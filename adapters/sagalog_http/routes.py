"""Routes: one table of what a server answers, to whom, and what it takes and gives.

Rule: a route without a rule cannot be made. [HTTP-1] A struct that a route takes refuses fields that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec
from starlette.routing import compile_path

from sagalog_http.call import Call
from sagalog_http.errors import MethodNotAllowed, NoSuchPath
from sagalog_http.problems import Render, as_problem_json
from sagalog_http.rules import Rule

# The capacity of routes that name none.
GENERAL: Final = "general"
# The capacity of routes that renew and settle leases, which no other request holds up.
SETTLE: Final = "settle"

_METHOD: Final = re.compile(r"[A-Z]+")
_REFUSED_METHODS: Final = frozenset({"TRACE", "CONNECT", "OPTIONS"})


class Taken(Enum):
    """What a route may take that is no struct."""

    RAW = "raw"
    STREAMED = "streamed"


# A body as bytes, or a query that is not looked at.
RAW: Final = Taken.RAW
# A body that the handler reads as it arrives, by `Call.chunks`.
STREAMED: Final = Taken.STREAMED


@dataclass(frozen=True)
class Route:
    """One path of a server with its methods.

    methods          a method, or several
    path             a template, as in `/jobs/{id}`; `{name:path}` also takes slashes
    handler          a coroutine function from a `Call` to what is answered: a value for JSON, None (204), a Response or
                     a Stream
    rule             who may call it: `public()`, `scope(...)` or another Rule
    takes            the type of its JSON body; RAW: bytes; STREAMED: read by the handler; None: no body
    query            the struct of its parameters; RAW: not looked at; None: none
    status           the status of a value that is answered
    body_bytes_max   how large its body may be; None: as the settings say
    capacity         the name of the capacity whose threads its calls of the engine have
    render           how its errors are answered; None: as those of the application

    Raises:
        TypeError: there is no rule, the handler is no coroutine function, or a struct would take unknown fields.
        ValueError: the path or a method is none.
    """

    methods: str | Iterable[str]
    path: str
    handler: Callable[[Call], Awaitable[Any]]
    rule: Rule
    takes: Any = None
    query: Any = None
    status: int = 200
    body_bytes_max: int | None = None
    capacity: str = GENERAL
    render: Render | None = None

    def __post_init__(self) -> None:
        names = (self.methods,) if isinstance(self.methods, str) else tuple(self.methods)
        object.__setattr__(self, "methods", names)
        if not names or any(not _METHOD.fullmatch(name) or name in _REFUSED_METHODS for name in names):
            raise ValueError(
                f"{self.path}: expected methods as in 'GET', other than TRACE and OPTIONS, found {names!r}"
            )
        if not self.path.startswith("/"):
            raise ValueError(f"a path begins with a slash, and {self.path!r} does not")
        if not callable(getattr(self.rule, "admit", None)):
            raise TypeError(f"{self.path}: a route has a rule: public(), scope(...), or one of your own")
        if not callable(self.handler):
            raise TypeError(f"{self.path}: the handler is no coroutine function")
        for what in (self.takes, self.query):
            _require_strict(self.path, what)


class RouteTable:
    """The routes of a server.

    Args:
        routes: two may share a path, if they share no method.

    Raises:
        ValueError: two routes answer the same method of a path.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[str, list[Route]] = {}
        self._templates: list[tuple[re.Pattern[str], Any, Route]] = []
        seen: set[tuple[str, str]] = set()
        for route in self.routes:
            for method in route.methods:
                if (method, route.path) in seen:
                    raise ValueError(f"two routes answer {method} {route.path}")
                seen.add((method, route.path))
            pattern, _, convertors = compile_path(route.path)
            if convertors:
                self._templates.append((pattern, convertors, route))
            else:
                self._exact.setdefault(route.path, []).append(route)

    def at(self, path: str) -> list[tuple[Route, dict[str, Any]]]:
        """Return the routes of a path with its parameters, an exact path before templates."""
        found: list[tuple[Route, dict[str, Any]]] = [(route, {}) for route in self._exact.get(path, ())]
        if found:
            return found
        for pattern, convertors, route in self._templates:
            match = pattern.match(path)
            if match is not None and (not found or found[0][0].path == route.path):
                values = {name: convertors[name].convert(value) for name, value in match.groupdict().items()}
                found.append((route, values))
        return found


def match(found: list[tuple[Route, dict[str, Any]]], method: str) -> tuple[Route, dict[str, Any]]:
    """Return the route of a path that answers a method; raises NoSuchPath, MethodNotAllowed."""
    if not found:
        raise NoSuchPath("no route has this path; look at the URL of the request")
    for route, values in found:
        if method in route.methods:
            return route, values
    allowed = sorted({name for route, _ in found for name in route.methods})
    raise MethodNotAllowed(f"this path answers {', '.join(allowed)}; use one of these methods", allowed=allowed)


def _require_strict(path: str, takes: Any) -> None:
    """Refuse a struct that would take fields which it does not know, and throw them away."""
    for struct in _structs(takes):
        if not struct.__struct_config__.forbid_unknown_fields:
            raise TypeError(
                f"{path}: {struct.__name__} takes unknown fields; declare it with forbid_unknown_fields=True"
            )


def _structs(takes: Any) -> list[Any]:
    if takes is None or isinstance(takes, Taken):
        return []
    found: dict[int, Any] = {}
    waiting = [msgspec.inspect.type_info(takes)]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if id(info.cls) in found:
                continue
            found[id(info.cls)] = info.cls
            waiting += [field.type for field in info.fields]
        for name in ("item_type", "key_type", "value_type"):
            inner = getattr(info, name, None)
            if inner is not None:
                waiting.append(inner)
        waiting += [*getattr(info, "item_types", ()), *getattr(info, "types", ())]
    return list(found.values())


__all__ = ["GENERAL", "RAW", "SETTLE", "STREAMED", "Render", "Route", "RouteTable", "Taken", "as_problem_json", "match"]
