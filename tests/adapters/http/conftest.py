"""A server of the routes of `served`, made once for all tests that change nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.adapters.http.served import ROUTES, Served, serving


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(ROUTES) as one:
        yield one


@pytest.fixture(scope="module")
def admin(served: Served) -> dict[str, str]:
    """The headers of a token that may do all."""
    return served.bearer("admin", name="admin")
