"""Logs of a server: one line for each request and each defect, in plain words or as JSON, without secrets.

Rule: a line names the method, the template of the path, the status, the time and the name of the token; never a query,
a header or a body. [HTTP-9] What another party has written is escaped, so that it begins no line of its own.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from sagalog_http.tokens import PREFIX

ACCESS: Final = logging.getLogger("sagalog_http.access")
LOG: Final = logging.getLogger("sagalog_http")

_SECRET: Final = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{20,}|(?i:\bbearer\s+)[^\s'\",]+")
# What the log records of this kit hold besides their message.
_FIELDS: Final = ("method", "path", "status", "duration_ms", "token", "id", "code", "kind", "frames", "cursor")


def log_access(
    method: str, path: str | None, status: int | None, duration_ms: float, token: str | None, id: str
) -> None:
    """Log the end of a request.

    Args:
        method: its method.
        path: the template of its route; None: it has none.
        status: of the answer; None: the client had hung up.
        duration_ms: how long it took, in milliseconds.
        token: the name of its token.
        id: the id of the request.
    """
    shown = path or "(no route)"
    fields = {
        "method": method[:20],
        "path": shown,
        "status": status,
        "duration_ms": round(duration_ms, 1),
        "token": token,
        "id": id,
    }
    text = "%s %s %s in %.1f ms by %s"
    ACCESS.info(text, method[:20], shown, status or "-", duration_ms, token or "-", extra=fields)


def log_defect(error: BaseException, id: str, path: str | None) -> None:
    """Log an error that the table does not know: its class and where it was raised, not its text.

    The text of an exception may quote the body of a request.
    """
    frames = [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(error.__traceback__)][-12:]
    kind = type(error).__name__
    fields = {"kind": kind, "frames": frames, "id": id, "path": path}
    LOG.error("request %s of %s failed by %s at %s", id, path, kind, " < ".join(reversed(frames)), extra=fields)


def configure_logs(as_json: bool = False, output: TextIO | None = None, level: int = logging.INFO) -> None:
    """Have all loggers of this process write lines of the kit's form, in place of what was set before.

    Args:
        as_json: one object of JSON a line.
        output: where to write; None: to standard error.
        level: below which level nothing is written.
    """
    handler = logging.StreamHandler(output or sys.stderr)
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in ("httpx", "httpcore"):
        # They log every URL, with its query.
        logging.getLogger(name).setLevel(logging.WARNING)


class PlainLines(logging.Formatter):
    """Lines for people: time, level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line = f"{_instant(record)} {record.levelname:<7} {record.name}: {_message(record)}"
        return line if record.exc_info is None else f"{line} | {escaped(_exception(record))}"


class JsonLines(logging.Formatter):
    """Lines for programs: an object of JSON each."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        found: dict[str, Any] = {
            "at": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name in _FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                found[name] = escaped(value) if isinstance(value, str) else value
        if record.exc_info is not None:
            found["exception"] = escaped(_exception(record))
        return json.dumps(found, ensure_ascii=True)


def escaped(text: str) -> str:
    """Return a text on one line, with escapes for what does not print, and without secrets."""
    plain = _SECRET.sub("***", text)
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "replace").decode() for one in plain)


def _message(record: logging.LogRecord) -> str:
    return escaped(record.getMessage())


def _instant(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _exception(record: logging.LogRecord) -> str:
    """Return the class and the frames of an exception; its text may quote a request."""
    kind, error, trace = record.exc_info if record.exc_info is not None else (None, None, None)
    where = [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_tb(trace)][-12:]
    shown = kind.__name__ if kind is not None else type(error).__name__
    return f"{shown} at {' < '.join(reversed(where))}"
