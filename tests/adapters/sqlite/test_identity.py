"""Which file a name means, asked in two ways that must agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagalog_sqlite import file_identity
from sagalog_sqlite.file_identity import Name, identity_of


@pytest.fixture(params=["asked for the inode alone", "asked as everywhere"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "asked as everywhere":
        monkeypatch.setattr(file_identity, "_ask", None)


@pytest.mark.usefixtures("way")
def test_a_name_means_the_file_that_it_leads_to_now(tmp_path: Path) -> None:
    path, other = tmp_path / "ä file", tmp_path / "other"
    name = Name(str(path))
    assert name.identity() is None
    path.write_text("one")
    first = name.identity()
    assert first == identity_of(str(path)) == (path.stat().st_dev, path.stat().st_ino)
    other.write_text("two")
    other.replace(path)
    assert name.identity() == identity_of(str(path)) != first
    path.unlink()
    path.symlink_to("/dev/null")
    assert name.identity() == identity_of("/dev/null")


@pytest.mark.usefixtures("way")
def test_names_do_not_share_their_answers(tmp_path: Path) -> None:
    names = []
    for text in ("one", "two"):
        (tmp_path / text).write_text(text)
        names.append(Name(str(tmp_path / text)))
    found = [name.identity() for name in names]
    assert found == [name.identity() for name in names]
    assert len(set(found)) == 2


def test_what_the_system_refuses_is_asked_as_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some sandboxes do, which know the older question only."""
    monkeypatch.setattr(file_identity, "_ask", lambda *_: -1)
    assert Name(str(tmp_path)).identity() == identity_of(str(tmp_path))
