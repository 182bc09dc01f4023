"""The tables of the reference: stores by their URLs, all limits, all errors.

Rule: each is read from where it is decided: `pyproject.toml`, `kernel/bounds.py`, `errors.py`, and the exit statuses of
the command line.
"""

from __future__ import annotations

import importlib
import tomllib
from collections.abc import Iterable, Iterator

import sagalog.errors
from sagalog import SagalogError
from sagalog_cli.render import exit_status
from tests.reference.docstrings import parse
from tests.reference.limits import ROOT, all_bounds


def rules_text() -> str:
    """The text of the rules."""
    return (ROOT / "specs" / "rules.md").read_text(encoding="utf-8")


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table; a column without any text is left out, and a table without rows too."""
    rows = [tuple(cell.replace("|", r"\|") for cell in row) for row in rows]
    if not rows:
        return
    kept = [at for at in range(len(heads)) if at == 0 or any(row[at] for row in rows)]
    yield f"| {' | '.join(heads[at] for at in kept)} |"
    yield f"|{'---|' * len(kept)}"
    yield from (f"| {' | '.join(row[at] for at in kept)} |" for row in rows)
    yield ""


def stores() -> Iterator[str]:
    """The stores of this package by the scheme of their URLs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = []
    for scheme, place in project["entry-points"]["sagalog.stores"].items():
        module, _, name = place.partition(":")
        doc = parse(getattr(importlib.import_module(module), name).__doc__)
        rows.append((f"`{scheme}:`", doc.arguments.get("url", f"`{scheme}:`"), doc.paragraphs[0]))
    yield "The schemes of this package:\n"
    yield from table(("scheme", "URL", "what opening does"), rows)


def limits() -> Iterator[str]:
    """Every bound with its number, its unit, and the rule that says so."""
    yield "## Limits\n"
    yield "`sagalog.kernel.bounds` holds these numbers."
    yield "Past one of them a call is refused, as `InvalidValue` or `OverBound`, and the refusal names the bound."
    yield "Only the texts of errors, reasons, notes and waivers are cut instead.\n"
    rows = [(f"`{one.name}`", f"{one.value:,}", one.unit, one.of, f"[{one.rule}]") for one in all_bounds().values()]
    yield from table(("limit", "number", "unit", "of what", "rule"), rows)


def errors_of(branch: type[SagalogError]) -> list[type[SagalogError]]:
    """An error and those below it, in the order of `errors.py`."""
    return [kind for kind in vars(sagalog.errors).values() if isinstance(kind, type) and issubclass(kind, branch)]


def branches() -> list[type[SagalogError]]:
    """The branches of errors, each with what a caller does next."""
    return SagalogError.__subclasses__()


def error_link(name: str) -> str:
    """The name of an error, with a link to its branch where it is one of sagalog."""
    found = [branch for branch in branches() if name in [kind.__name__ for kind in errors_of(branch)]]
    return f"[`{name}`](#{found[0].__name__.lower()})" if found else f"`{name}`"


def errors(branch: type[SagalogError]) -> Iterator[str]:
    """The errors of a branch, the branch itself first."""
    rows = [
        (
            f"`{kind.__name__}`",
            f"`{kind.code}`",
            str(exit_status(kind(""))),
            " ".join(parse(kind.__doc__ or "").paragraphs),
        )
        for kind in errors_of(branch)
    ]
    yield from table(("error", "code", "exit status", "meaning"), rows)
