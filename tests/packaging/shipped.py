"""What is shipped, made once per run: an sdist of the tree, and the wheel that is built from that sdist.

Rule: the wheel comes from the unpacked sdist, as it does for those who install from source, so that neither
can lack what the other needs. Building asks no network: hatchling is in the environment.
Knows nothing of what the code does.
"""

from __future__ import annotations

import configparser
import email
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from tests.packaging.tree import ROOT


@dataclass(frozen=True)
class Shipped:
    """Both artefacts of one build: the names inside, and the wheel unpacked as an installer lays it down."""

    sdist_names: frozenset[str]  # relative to the one folder an sdist holds
    wheel_names: frozenset[str]
    installed: Path  # a folder to put on sys.path: packages and the .dist-info

    def read(self, name: str) -> str:
        """Give the text of the one file of the wheel's metadata with that name."""
        [found] = self.installed.glob(f"*.dist-info/{name}")
        return found.read_text(encoding="utf-8")

    def metadata(self) -> Message:
        """Give the wheel's METADATA, a set of headers."""
        return email.message_from_string(self.read("METADATA"))

    def entry_points(self) -> dict[str, dict[str, str]]:
        """Give the wheel's entry points: group -> name -> target."""
        parser = configparser.ConfigParser(delimiters=("=",))
        parser.read_string(self.read("entry_points.txt"))
        return {group: dict(parser[group]) for group in parser.sections()}


def build(folder: Path) -> Shipped:
    """Build the sdist of the tree and the wheel of that sdist, all inside `folder`."""
    _hatchling("sdist", ROOT, folder)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        # Debian's Python 3.11 has no filters yet and takes no argument; later ones warn when none is set.
        sdist.extraction_filter = getattr(tarfile, "data_filter", None)
        sdist.extractall(folder / "unpacked")
    [source] = (folder / "unpacked").iterdir()

    _hatchling("wheel", source, folder)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder / "installed")
        wheel_names = frozenset(name for name in content.namelist() if not name.endswith("/"))

    sdist_names = frozenset(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
    return Shipped(sdist_names, wheel_names, folder / "installed")


def _hatchling(target: str, source: Path, folder: Path) -> None:
    arguments = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    made = subprocess.run(arguments, cwd=source, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
