"""When an id was drawn: `show` says it, and no other command pays for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sagalog import Engine
from tests.adapters.cli.calls import PAST_MS, call, environment, past, url_of


def created(engine: Engine) -> tuple[str, str]:
    engine.create("build", id="mine")
    return engine.create("build").id, "mine"


def test_show_says_when_an_id_was_drawn_and_its_json_stays_as_it_was(tmp_path: Path) -> None:
    with past(tmp_path / "store.db") as engine:
        drawn, own = created(engine)
    db = url_of(tmp_path / "store.db")
    lines = {words[0]: words[1] for words in (line.split(maxsplit=1) for line in call("show", drawn, "--db", db).lines)}
    assert lines["drawn"] == lines["created"] == "2023-11-14T22:13:20.000Z"
    assert PAST_MS == 1_700_000_000_000
    assert [line for line in call("show", own, "--db", db).lines if line.startswith("drawn")] == []
    shown = [call("show", id, "--db", db, "--json").documents[0] for id in (drawn, own)]
    assert "drawn" not in {*shown[0], *shown[1]}
    assert set(shown[0]) == set(shown[1])


def test_listing_does_not_pay_for_reading_ids(tmp_path: Path) -> None:
    with past(tmp_path / "store.db") as engine:
        created(engine)
    code = (
        "import sys; from sagalog_cli import main; main(standalone_mode=False); sys.exit(40 + ('ulid' in sys.modules))"
    )
    words = ["list", "--db", url_of(tmp_path / "store.db")]
    listed = subprocess.run([sys.executable, "-c", code, *words], env=environment(), capture_output=True, check=False)
    assert (listed.returncode, listed.stdout.count(b"build")) == (40, 2)
