"""The Python of the documents: every block with its place, and whether it passes the type checker.

Rule: a block is checked as it is, with the settings of the tree, in a module of its own whose lines have the
numbers that they have in the document. `python -m tests.documents` checks all; continuous integration runs it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
DOCUMENTS: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("specs/**/*.md")])

_BLOCK: Final = re.compile(r"```python\n(.*?)```", re.DOTALL)


class Block(NamedTuple):
    """One block of Python: the document that holds it, its number there from 1, its first line, and its code."""

    document: Path
    number: int
    line: int
    code: str

    @property
    def module(self) -> str:
        """A name for its module, of the document's and its number."""
        return f"{re.sub(r'[^a-zA-Z0-9]', '_', self.document.stem)}_{self.number}"


def blocks_of(document: Path) -> Iterator[Block]:
    """Give the blocks of Python of a document, in order."""
    text = document.read_text(encoding="utf-8")
    for number, found in enumerate(_BLOCK.finditer(text), 1):
        yield Block(document, number, text.count("\n", 0, found.start(1)) + 1, found[1])


def check_types(documents: Iterable[Path]) -> int:
    """Run the type checker on every block of the documents; its exit status, and what it says on standard output."""
    with TemporaryDirectory() as folder:
        modules = []
        for block in (block for document in documents for block in blocks_of(document)):
            modules.append(Path(folder, f"{block.module}.py"))
            modules[-1].write_text("\n" * (block.line - 1) + block.code, encoding="utf-8")
        # The settings name the source roots as seen from the root of the tree.
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *map(str, modules)]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, "MYPYPATH": folder}, check=False).returncode


if __name__ == "__main__":
    sys.exit(check_types(DOCUMENTS))
