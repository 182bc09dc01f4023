"""The words of the code: names of modules and public classes are terms of the field, or the glossary has them."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("engine", "adapters", "bench")
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).glob("**/*.py"))

# Terms that need no entry: every engineer of the field reads them as we mean them. A word that is missing here and in
# docs/glossary.md is a coined one: choose a plainer name, or give the word its entry.
STANDARD_TERMS = frozenset(
    [
        "account",
        "adopt",
        "adopted",
        "adoption",
        "advice",
        "already",
        "annotations",
        "arguments",
        "as",
        "async",
        "audit",
        "audited",
        "aware",
        "bar",
        "base",
        "bench",
        "blob",
        "blocked",
        "bound",
        "builtin",
        "cache",
        "call",
        "calling",
        "cancel",
        "cancelled",
        "candidates",
        "cell",
        "change",
        "checks",
        "claimed",
        "class",
        "classification",
        "clock",
        "closed",
        "codec",
        "compensated",
        "complete",
        "completed",
        "conditions",
        "config",
        "conflict",
        "connection",
        "consuming",
        "contest",
        "context",
        "contract",
        "conversion",
        "converter",
        "core",
        "coroutine",
        "corrupt",
        "cost",
        "counted",
        "counter",
        "counts",
        "crash",
        "create",
        "created",
        "creation",
        "crowd",
        "daemon",
        "damage",
        "damaged",
        "day",
        "declaration",
        "delay",
        "delayed",
        "demo",
        "descriptors",
        "diagram",
        "disk",
        "done",
        "durations",
        "end",
        "engine",
        "error",
        "estimates",
        "evidence",
        "excerpt",
        "execution",
        "exists",
        "expired",
        "facade",
        "fail",
        "failed",
        "failure",
        "family",
        "fault",
        "field",
        "figure",
        "file",
        "finding",
        "folder",
        "fork",
        "found",
        "founded",
        "given",
        "goal",
        "gone",
        "group",
        "guard",
        "guarded",
        "handle",
        "head",
        "health",
        "heartbeat",
        "held",
        "history",
        "holder",
        "hooks",
        "huey",
        "identity",
        "ids",
        "inbox",
        "inheritance",
        "instructions",
        "interruptions",
        "interrupts",
        "interventions",
        "invalid",
        "job",
        "killed",
        "kinds",
        "large",
        "late",
        "lazy",
        "leased",
        "lifeline",
        "line",
        "lines",
        "listed",
        "listing",
        "lite",
        "lives",
        "loaded",
        "loader",
        "local",
        "lost",
        "machine",
        "main",
        "maintain",
        "maintained",
        "manual",
        "matcher",
        "member",
        "memory",
        "method",
        "migration",
        "mismatch",
        "move",
        "name",
        "named",
        "new",
        "no",
        "not",
        "note",
        "number",
        "obligations",
        "open",
        "opening",
        "order",
        "ours",
        "output",
        "pair",
        "parked",
        "parking",
        "patterns",
        "payload",
        "peers",
        "pending",
        "permanent",
        "persist",
        "place",
        "plan",
        "port",
        "prefixes",
        "process",
        "processor",
        "progress",
        "promoted",
        "put",
        "quarantined",
        "race",
        "random",
        "raw",
        "read",
        "reader",
        "rebuild",
        "record",
        "recordable",
        "recorded",
        "recording",
        "redactor",
        "rediscovery",
        "refusal",
        "refused",
        "register",
        "registered",
        "rejected",
        "relations",
        "release",
        "released",
        "render",
        "renewal",
        "repeat",
        "report",
        "repository",
        "requested",
        "required",
        "reset",
        "result",
        "retried",
        "retry",
        "rule",
        "run",
        "runner",
        "saved",
        "scenario",
        "schema",
        "seek",
        "seen",
        "selection",
        "session",
        "shapes",
        "side",
        "signalled",
        "sizes",
        "slice",
        "source",
        "spread",
        "state",
        "statistics",
        "stats",
        "stopped",
        "strategies",
        "suite",
        "system",
        "table",
        "tail",
        "taken",
        "tape",
        "terminal",
        "test",
        "testing",
        "text",
        "thread",
        "timeline",
        "timeout",
        "times",
        "trace",
        "tracebacks",
        "transaction",
        "transient",
        "turn",
        "typed",
        "unavailable",
        "unblocked",
        "unchanged",
        "unclaimed",
        "undeclared",
        "undo",
        "undoing",
        "unfit",
        "unknown",
        "unreadable",
        "unrecorded",
        "upgraded",
        "validation",
        "value",
        "verdict",
        "verify",
        "violation",
        "waiter",
        "waiting",
        "waive",
        "waived",
        "wake",
        "wal",
        "watch",
        "wording",
        "workspace",
        "write",
        "writer",
        "wrong",
    ]
)
# Names of packages, programs and formats.
PROPER_NAMES = frozenset(["sagalog", "sqlite", "fifo", "cli", "json", "ulids", "aio", "pytest"])


def words_of(name: str) -> list[str]:
    """The words of a name: `commit_queue` and `CommitQueue` are commit and queue."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def entries() -> frozenset[str]:
    """Every word of the glossary's terms: what an entry is about, and the related terms that it sets in italics."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    return frozenset(word for term in re.findall(r"\*+([^*\n]+)\*+", text) for word in words_of(term.replace("_", " ")))


def is_known(word: str, known: frozenset[str]) -> bool:
    """Whether the word or its plain form is known."""
    forms = {word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"}
    return bool(forms & known)


@cache
def public_classes(path: Path) -> list[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [node.name for node in body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]


def test_a_module_and_a_public_class_are_called_by_known_words() -> None:
    known = entries() | STANDARD_TERMS | PROPER_NAMES
    names = {
        f"{path.relative_to(ROOT)}: {name}": words_of(name)
        for path in MODULES
        for name in (path.parent.name if path.stem == "__init__" else path.stem, *public_classes(path))
    }

    coined = {where: left for where, words in names.items() if (left := [w for w in words if not is_known(w, known)])}

    assert {} == coined


def test_each_standard_term_is_used_and_has_no_entry_of_its_own() -> None:
    used = {
        word
        for path in MODULES
        for name in (path.parent.name, path.stem, *public_classes(path))
        for word in words_of(name)
    }

    unused = sorted(term for term in STANDARD_TERMS if term not in used)
    twice = sorted(STANDARD_TERMS & entries())

    assert ([], []) == (unused, twice)
