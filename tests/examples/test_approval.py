"""`docs/examples/approval` builds two hundred pages by tasks of their own, and heeds the word of an editor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import sagalog
from sagalog import Engine
from tests.adapters.cli.calls import run, start
from tests.examples.programs import copy, until

PAGES = 200


class Site(NamedTuple):
    """A folder where a worker runs the program, and an engine on its store."""

    folder: Path
    engine: Engine

    def say(self, word: str) -> None:
        """Send the word of the editor from a shell."""
        assert run("signal", "blue", "approval", word, cwd=self.folder).status == 0

    def end(self) -> str:
        """The state in which the task of the site ends."""
        return self.engine.wait("blue", 60_000).state

    def pages(self, folder: str) -> int:
        """The number of pages in a folder of the site; 0 where there is none."""
        return len(list((self.folder / folder / "blue").glob("*.html")))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose pages are built, so that it waits for the word of the editor."""
    copy("pipeline.py", tmp_path)
    with sagalog.open(f"sqlite:///{tmp_path}/sagalog.db") as engine:
        engine.create("site", {"name": "blue", "pages": PAGES}, queue="sites", id="blue")
        worker = start("worker", "run", "--handlers=pipeline:worker", "--until=drained", cwd=tmp_path)
        try:
            until(lambda: engine.find(waiting="approval") != [])
            yield Site(tmp_path, engine)
            said = worker.communicate(timeout=60)
            assert worker.returncode == 0, said
        finally:
            worker.kill()
            worker.communicate()


def test_an_approved_site_is_published_with_all_its_pages(site: Site) -> None:
    assert (site.pages("drafts"), site.pages("public")) == (PAGES, 0)
    site.say('{"publish": "yes"}')  # what is no answer changes nothing
    site.say('"publish"')

    assert site.end() == "completed"
    assert site.pages("public") == PAGES


def test_a_rejected_site_is_removed_with_all_its_pages(site: Site) -> None:
    """[COMP-5] The parent undoes what its children have made, though these have completed."""
    assert site.pages("drafts") == PAGES
    site.say('"reject"')

    assert site.end() == "compensated"
    assert list(site.folder.glob("*/blue")) == []
