"""sagalog_http: routes over HTTP on an engine, with tokens. This file holds the public names, nothing else.

    routes, call, rules, access   the table of routes; what a handler gets; who may call
    application, exchange         from a request to its answer
    authenticator, tokens         tokens, and a memory of them of less than a second
    origins, rates, bodies, settings   Host and Origin; rates; bodies; what a server allows
    capacities, streams           threads by name; answers that go on
    errors, problems, logs        refusals, what callers are told of them, what the log says
    server, protocol              an application on an address; one connection

Each name is imported at its first use, so that `sagalog_http.tokens` needs no web server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sagalog_http.access import Access
    from sagalog_http.application import Application
    from sagalog_http.call import Call
    from sagalog_http.capacities import Capacity
    from sagalog_http.errors import HttpError
    from sagalog_http.logs import configure_logs
    from sagalog_http.problems import Problem
    from sagalog_http.routes import GENERAL, RAW, SETTLE, STREAMED, Route
    from sagalog_http.rules import Asked, Rule, public, scope
    from sagalog_http.server import Server, serve
    from sagalog_http.settings import Settings
    from sagalog_http.streams import Frame, Stream, ndjson, server_sent_events
    from sagalog_http.tokens import Token, Tokens

_MODULES: Final = {
    "Access": "access",
    "Application": "application",
    "Asked": "rules",
    "Call": "call",
    "Capacity": "capacities",
    "Frame": "streams",
    "GENERAL": "routes",
    "HttpError": "errors",
    "Problem": "problems",
    "RAW": "routes",
    "Route": "routes",
    "Rule": "rules",
    "SETTLE": "routes",
    "STREAMED": "routes",
    "Server": "server",
    "Settings": "settings",
    "Stream": "streams",
    "Token": "tokens",
    "Tokens": "tokens",
    "configure_logs": "logs",
    "ndjson": "streams",
    "public": "rules",
    "scope": "rules",
    "serve": "server",
    "server_sent_events": "streams",
}

__all__ = [
    "GENERAL",
    "RAW",
    "SETTLE",
    "STREAMED",
    "Access",
    "Application",
    "Asked",
    "Call",
    "Capacity",
    "Frame",
    "HttpError",
    "Problem",
    "Route",
    "Rule",
    "Server",
    "Settings",
    "Stream",
    "Token",
    "Tokens",
    "configure_logs",
    "ndjson",
    "public",
    "scope",
    "serve",
    "server_sent_events",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        try:
            return getattr(import_module(f"sagalog_http.{_MODULES[name]}"), name)
        except ModuleNotFoundError as error:
            raise ImportError(f'{name} needs the extra http: pip install "sagalog[http]"') from error
    raise AttributeError(f"module 'sagalog_http' has no attribute {name!r}")
