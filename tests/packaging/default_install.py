"""The default install, or one with an extra, made of what lies in the environment: the wheel, and what it needs.

Rule: nothing else can be imported. The folder holds a link to each file of those distributions, and a program that
runs there sees the standard library and the folder, whatever else is installed beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePath
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.shipped import Shipped

# Each module is imported in a process of its own, in which no other of ours is but `sagalog`, once that is tried.
# What others have made is there already.
_IMPORT = """
import gc, importlib, json, os

for name in {others!r}:
    importlib.import_module(name)
gc.freeze()
failures = {{}}
for name in {names!r}:
    reads, writes = os.pipe()
    if os.fork() == 0:
        try:
            importlib.import_module(name)
        except Exception as error:
            failure = [type(error).__name__, str(error)]
        else:
            failure = None
        os.write(writes, json.dumps(failure).encode())
        os._exit(0)
    os.close(writes)
    with open(reads) as told:
        failures[name] = json.load(told)
    os.wait()
    # Each of ours begins with the import of this one.
    if name == "sagalog" and failures[name] is None:
        importlib.import_module(name)
print(json.dumps(failures))
"""
_OTHERS = ["asyncio", "apsw", "click", "concurrent.futures.thread", "msgspec", "rich.table", "transitions", "ulid"]


def closure(requirements: Iterable[str]) -> dict[str, Distribution]:
    """Give the installed distributions that the requirements lead to, by normalised name; no extra is asked for.

    An extra that a requirement itself asks for (`rich[jupyter]`) leads on.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(line), "") for line in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        found[name] = distribution(name)
        for asked in ("", *requirement.extras):
            if (name, asked) not in seen:
                seen.add((name, asked))
                waiting += [(Requirement(line), asked) for line in found[name].requires or ()]
    return found


def install(shipped: Shipped, folder: Path, extra: str = "") -> Path:
    """Lay out the wheel and the closure of what it needs in `folder`, perhaps with an extra, and give it back."""
    for entry in shipped.installed.iterdir():
        (folder / entry.name).symlink_to(entry)
    lines = shipped.metadata().get_all("Requires-Dist", [])
    mark = f"extra == '{extra}'"
    # The closure asks for no extra of the first ones: those of ours are needed as if each had no condition.
    needed = [line.partition(";")[0] if mark in line.replace('"', "'") else line for line in lines]
    for each in closure(needed).values():
        _link(each, folder)
    return folder


def _link(installed: Distribution, folder: Path) -> None:
    """Link file by file: packages, lone modules and C extensions alike, and of a shared folder only its own."""
    files = installed.files
    assert files, f"{installed.name} does not say which files are its own"
    place = Path(str(installed.locate_file(""))).resolve()
    made = set[PurePath]()
    for file in files:
        # Commands lie outside, and what could be compiled need not be so yet.
        if ".." in file.parts or not os.path.exists(f"{place}/{file}"):
            continue
        if file.parent not in made:
            (folder / file.parent).mkdir(parents=True, exist_ok=True)
            made.add(file.parent)
        os.symlink(f"{place}/{file}", f"{folder}/{file}")


def run(folder: Path, program: str) -> Any:
    """Run `program` on the standard library and the folder alone; give the JSON it prints."""
    prepared = f"import sys; sys.path.append({str(folder)!r})\n{program}"
    # -I: no folder of the caller, no variables; -S: no folder of installed packages.
    isolated = [sys.executable, "-I", "-S", "-c", prepared]
    done = subprocess.run(isolated, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def failures_of(folder: Path, modules: Iterable[str]) -> dict[str, tuple[str, str] | None]:
    """Import each module in a process of its own; the error's class and text, or None where it imports."""
    told = run(folder, _IMPORT.format(others=_OTHERS, names=list(modules)))
    return {module: None if failure is None else (failure[0], failure[1]) for module, failure in told.items()}
