"""The process of node: a machine without it skips its tests, and continuous integration does not."""

from __future__ import annotations

import pytest

from tests.clients import NodeClient


def test_a_machine_without_node_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="dev setup installs"):
        NodeClient("http://127.0.0.1:1")


def test_continuous_integration_without_node_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="dev setup installs"):
        NodeClient("http://127.0.0.1:1")
