"""The saved form of accounts, and their fold from the whole log, in the order of positions.

Rule: what a rate has left follows from the events that charge it and those that set it, in the order of the log; which
slots are used follows from the leases that live. So a store can throw all accounts away. [LIMIT-7] Knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from zlib import crc32

import msgspec

from sagalog.codec import Envelope, read
from sagalog.errors import SagalogError
from sagalog.kernel import events as e
from sagalog.kernel.accounts import Account, account_of_limit, key_of_account, stream_of_account
from sagalog.kernel.breakers import verdict_of
from sagalog.kernel.categories import LIMIT, QUEUE, SCHEDULE, category_of
from sagalog.kernel.state import LimitFold, QueueFold, ScheduleFold
from sagalog.kernel.values import BreakerState, Limit, Units

_CHECKSUM: Final = 8
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Account).decode

# How soon maintenance looks again at a schedule that this version cannot read. [LOG-5]
LOOK_AGAIN_MS: Final = 60_000

_CHARGING: Final = frozenset({e.NAMES[e.Leased], e.NAMES[e.Used]})
# Those that may end a lease with a verdict on a breaker.
_ENDING: Final = frozenset(e.NAMES[kind] for kind in (e.Retried, e.Completed, e.Failed, e.Quarantined))
_SETTING: Final = (*e.LIMIT_EVENTS, *e.QUEUE_EVENTS, *e.SCHEDULE_EVENTS)
# The types of the events that change what a rate has left, how often in a row leases have failed, or when a schedule
# is due.
COUNTING: Final = tuple(sorted(_CHARGING | _ENDING | {e.NAMES[kind] for kind in _SETTING}))


def encode_account(account: Account) -> bytes:
    """Return the bytes that a store saves of an account, behind their checksum."""
    content = _encode(account)
    return b"%08x%b" % (crc32(content), content)


def decode_account(saved: bytes) -> Account:
    """Return an account from saved bytes; raises msgspec.DecodeError where they are no longer those that were saved."""
    if type(saved) is not bytes or saved[:_CHECKSUM] != b"%08x" % crc32(saved[_CHECKSUM:]):
        raise msgspec.DecodeError("a saved account was changed: its checksum does not fit its content")
    return _decode(saved[_CHECKSUM:])


def limit_of(account: str, settings: LimitFold | QueueFold | ScheduleFold | None) -> Limit:
    """Return what an account allows by the fold of its stream; None: there is none, so it limits nothing.

    The account of a schedule limits nothing either: it only says when the schedule is due.
    """
    match settings:
        case LimitFold():
            return settings.limit
        case QueueFold():
            return settings.own if key_of_account(account) is None else settings.per_key
        case ScheduleFold() | None:
            return Limit()


def is_paused(account: str, settings: LimitFold | QueueFold | ScheduleFold | None) -> bool:
    """Check whether an account's limit or key is paused. That of a queue closes the queue, and not its account."""
    if isinstance(settings, QueueFold):
        return key_of_account(account) in settings.paused_keys
    return settings is not None and settings.paused > 0


def breaker_of(account: str, settings: LimitFold | QueueFold | ScheduleFold | None) -> BreakerState | None:
    """Return the state of an account's breaker; None: it has none, as no key and no schedule has. [BREAKER-1]"""
    if not isinstance(settings, LimitFold | QueueFold) or key_of_account(account) is not None:
        return None
    return None if settings.breaker is None else settings.breaker_state


def is_of_schedule(account: str) -> bool:
    """Check whether an account is that of a schedule, which says when it is due and nothing else."""
    return account.startswith("schedule/")


def _looked_at(account: Account, is_held: bool) -> Account:
    """Return an account at which maintenance looks soon, if it holds tasks back."""
    return msgspec.structs.replace(account, due_ms=0 if is_held else None)


class AccountFold:
    """The accounts as the log gives them, without the slots, which follow from the leases that live."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._settings: dict[str, Any] = {}
        # What the newest lease of a task was charged, by the name of the stream.
        self._charged: dict[str, tuple[Units, ...]] = {}

    def take(self, envelope: Envelope) -> None:
        """Take the next event of the log; others than those of `COUNTING` change nothing.

        One that cannot be read changes nothing either: an audit names it.
        """
        if envelope.type not in COUNTING:
            return
        try:
            event = read(envelope)
        except SagalogError:
            return
        match event:
            case e.Leased():
                self._lease(envelope, event)
            case e.Used():
                self._use(envelope, event)
            case e.Retried() | e.Completed() | e.Failed() | e.Quarantined():
                self._end(envelope, event)
            case _:
                self._set(envelope, event)

    def with_slots(self, used: Mapping[str, int]) -> dict[str, Account]:
        """Return all accounts with the slots that leases use, by account; maintenance looks at each of them soon."""
        names = sorted({*self.accounts, *used})
        return {
            name: msgspec.structs.replace(self.accounts.get(name, Account()), slots_used=used.get(name, 0))
            for name in names
        }

    def rebuilt(self, used: Mapping[str, int], held: Iterable[str]) -> dict[str, Account]:
        """Return all accounts as a rebuild saves them, by name; `held` are those that hold tasks back."""
        held, found = set(held), self.with_slots(used)
        all = {name: found.get(name, Account()) for name in sorted({*found, *held})}
        return {
            name: account if is_of_schedule(name) else _looked_at(account, name in held)
            for name, account in all.items()
        }

    def _lease(self, envelope: Envelope, event: e.Leased) -> None:
        for one in event.uses:
            self.accounts[one.account] = self._at(one.account, envelope.at_ms).take(one.units)
        if event.uses or envelope.stream in self._charged:
            self._charged[envelope.stream] = event.uses

    def _use(self, envelope: Envelope, event: e.Used) -> None:
        account, uses = account_of_limit(event.limit), self._charged.get(envelope.stream, ())
        before = sum(one.units for one in uses if one.account == account)
        self.accounts[account] = self._at(account, envelope.at_ms).correct(event.units, before)
        self._charged[envelope.stream] = tuple(
            msgspec.structs.replace(one, units=event.units) if one.account == account else one for one in uses
        )

    def _end(self, envelope: Envelope, event: e.Recordable) -> None:
        """Count the verdict of a lease at the breakers of its generation. [BREAKER-2]"""
        verdict = verdict_of((event,))
        if verdict is None:
            return
        for one in self._charged.get(envelope.stream, ()):
            fold = self._settings.get(one.account)
            if one.generation is not None and fold is not None and fold.breaker_state.generation == one.generation:
                account = self.accounts.get(one.account, Account())
                failures = verdict.counted(one.account, account.failures)
                if failures != account.failures:
                    self.accounts[one.account] = msgspec.structs.replace(account, failures=failures)

    def _set(self, envelope: Envelope, event: e.Recordable) -> None:
        category, id = category_of(envelope.stream), envelope.stream.partition("/")[2]
        if category is not LIMIT and category is not QUEUE and category is not SCHEDULE:
            return
        before = self._settings.get(envelope.stream) or category.begin(id)
        try:
            self._settings[envelope.stream] = category.evolve(before, event, envelope.version, envelope.at_ms)
        except SagalogError:
            return
        if category is SCHEDULE:
            # [SCHEDULE-6] When it is due follows from its events.
            due_ms = self._settings[envelope.stream].due_ms
            since_ms = None if due_ms is None else envelope.at_ms
            self.accounts[envelope.stream] = Account(due_ms=due_ms, since_ms=since_ms)
        elif envelope.stream in self.accounts:
            account = self.accounts[envelope.stream]
            if account.rate is not None:
                account = self._at(envelope.stream, envelope.at_ms)
            if self._settings[envelope.stream].breaker_state.generation != before.breaker_state.generation:
                account = msgspec.structs.replace(account, failures=0)
            self.accounts[envelope.stream] = account

    def _at(self, account: str, now_ms: int) -> Account:
        limit = limit_of(account, self._settings.get(stream_of_account(account)))
        return self.accounts.get(account, Account()).at(limit.rate, now_ms)
