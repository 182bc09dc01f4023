"""The shared part of the topics on limits: the gates of tasks, accounts, and what a rebuild has to give again.

Rule: it holds no promise of its own but that one. [LIMIT-7] Knows no topic.
"""

from __future__ import annotations

from typing import Any

from sagalog.kernel.accounts import Account
from sagalog.testing.contract.base import Contract


class LimitedContract(Contract):
    """Base of the topics on limits."""

    def gates(self, *tasks: str) -> list[str | None]:
        """Return the gates of tasks; a held one with the account that it lacks."""
        with self.store.read() as snapshot:
            rows = [snapshot.saved(f"task/{task}").row for task in tasks]  # type: ignore[union-attr]
        return [row.gate if row.held is None else f"{row.gate} {row.held}" for row in rows]

    def account(self, name: str) -> Account:
        """Return an account as it is saved."""
        with self.store.read() as snapshot:
            found = snapshot.account(name)
        assert found is not None, f"there is no account {name!r}"
        return found

    def users(self, *tasks: str, **arguments: Any) -> None:
        """Create tasks that use one unit of the limit `gpu`, unless arguments say otherwise."""
        self.create(*tasks, **{"uses": {"gpu": 1}, **arguments})

    def fair(self) -> None:
        """Check that the store is sound, and that a rebuild gives the same accounts but for what depends on looks."""
        self.sound()
        names = [f"limit/{one.name}" for one in self.engine.limits()]
        with self.store.read() as snapshot:
            before = {name: found for name in names if (found := snapshot.account(name)) is not None}
        self.engine.rebuild()
        self.sound()
        for name, account in before.items():
            again = self.account(name)
            assert (again.slots_used, again.credit, again.at_ms) == (account.slots_used, account.credit, account.at_ms)
