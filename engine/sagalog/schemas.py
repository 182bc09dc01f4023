"""The JSON Schema of every event's body, generated from the structs: `python -m sagalog.schemas specs/events`.

Rule: it writes the files in `specs/events/`, one an event, named after its type and schema number; a test compares
them. No other module of the engine uses it. Knows no store.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from sagalog.codec import SHAPES, Shapes
from sagalog.kernel.events import Recordable


def schema_files(shapes: Shapes = SHAPES) -> dict[str, str]:
    """Return file name -> content, for every event of every category."""
    return {f"{name}.{shapes.schemas[name]}.json": _schema(name, kind) for name, kind in shapes.types.items()}


def _schema(name: str, kind: type[Recordable]) -> str:
    schema: dict[str, Any] = msgspec.json.schema(kind)
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, **schema}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main(folder: str) -> None:
    """Write all files into `folder`, and remove those of events that no longer exist."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    files = schema_files()
    for old in target.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, content in files.items():
        (target / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m sagalog.schemas FOLDER")
    main(sys.argv[1])
