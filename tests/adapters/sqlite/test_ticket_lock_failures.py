"""A ticket where something goes wrong: interrupts, forks, odd lock files, closing; no lock is left behind."""

from __future__ import annotations

import errno
import gc
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sagalog_sqlite.lock_files import LockFiles
from sagalog_sqlite.ticket_lock import TicketLock, TurnTimeout
from tests.adapters.sqlite.ticket_lock_callers import (
    ChangeWaiter,
    Member,
    blocked,
    descriptors,
    eventually,
    in_line,
    state,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "some.db")


def test_an_interrupt_while_waiting_for_a_process_leaves_nothing_locked(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    waiting, other = members(2)
    ticket.acquire(0)
    waiting.tell("acquire", 10_000)
    eventually(lambda: blocked(path + ".turn") == 1)

    waiting.process.send_signal(signal.SIGINT)
    assert "interrupted" == waiting.hear()
    ticket.release()

    assert "turn" == other.ask("acquire", 5_000)
    assert "released" == other.ask("release")
    assert "turn" == waiting.ask("acquire", 5_000)


def test_an_interrupt_while_waiting_for_a_thread_leaves_nothing_locked(
    ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    (waiting,) = members(1)

    assert "interrupted" == waiting.ask("interrupt_in_line")

    ticket.acquire(5_000)
    ticket.release()
    assert "turn" == waiting.ask("acquire", 5_000)


def test_a_forked_child_neither_frees_nor_keeps_its_parents_turn(
    ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    """It keeps nothing after the parent's death."""
    (parent,) = members(1)
    assert "turn" == parent.ask("acquire", 0)

    child, answer = parent.ask("fork").split()

    assert "refused" == answer
    with pytest.raises(TurnTimeout) as refused:
        ticket.acquire(0)
    assert parent.pid == refused.value.holder_pid
    parent.process.kill()
    parent.process.wait(10)
    ticket.acquire(5_000)
    assert state(int(child)) in "RS", "the child lives on"


def test_an_interpreter_can_exit_while_its_waiter_waits(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    (member,) = members(1)
    ticket.acquire(0)
    assert "timeout" == member.ask("acquire", 20)
    eventually(lambda: blocked(path + ".turn") == 1)

    assert 0 == member.leave()


@pytest.mark.parametrize("umask", [0, 0o777])
def test_lock_files_are_for_the_owner_alone_whatever_the_umask(path: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        TicketLock(path).close()
    finally:
        os.umask(before)

    assert [0o600, 0o600] == [stat.S_IMODE(os.stat(path + end).st_mode) for end in (".next", ".turn")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_on_a_visit_does_not_shut_the_owner_out(path: str) -> None:
    Path(path).touch()
    os.chown(path, 12345, 12345)

    TicketLock(path).close()

    assert [12345, 12345] == [os.stat(path + end).st_uid for end in (".next", ".turn")]


def test_a_symbolic_link_in_the_place_of_a_lock_file_is_refused(tmp_path: Path, path: str) -> None:
    target = tmp_path / "precious"
    target.write_text("untouched")
    os.symlink(target, path + ".turn")

    with pytest.raises(OSError, match="symbolic"):
        TicketLock(path)

    assert "untouched" == target.read_text()


def test_a_folder_that_is_not_there_raises_what_the_system_says(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        TicketLock(str(tmp_path / "nowhere" / "some.db"))


def test_a_pid_that_cannot_be_written_costs_no_turn(ticket: TicketLock, members: Callable[[int], list[Member]]) -> None:
    (unlucky,) = members(1)
    assert "full" == unlucky.ask("fill_disk")

    assert "turn" == unlucky.ask("acquire", 0)
    with pytest.raises(TurnTimeout) as refused:
        ticket.acquire(20)
    assert refused.value.holder_pid is None
    assert "released" == unlucky.ask("release")
    ticket.acquire(5_000)
    unlucky.tell("acquire", 5_000)
    ticket.release()
    assert "turn" == unlucky.hear()


def test_a_lock_that_the_system_refuses_to_the_waiter_is_raised(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing stays locked."""

    def refuse(files: LockFiles) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    (holder,) = members(1)
    assert "turn" == holder.ask("acquire", 0)

    monkeypatch.setattr(LockFiles, "wait_turn", refuse)
    with pytest.raises(OSError, match="no locks available"):
        ticket.acquire(5_000)

    assert "released" == holder.ask("release")
    ticket.acquire(0)


def test_a_thread_that_has_the_turn_cannot_ask_for_it_again(ticket: TicketLock) -> None:
    ticket.acquire(0)

    with pytest.raises(RuntimeError, match="already"):
        ticket.acquire(0)

    waiter = ChangeWaiter(ticket, timeout_ms=0)
    waiter.join()
    assert isinstance(waiter.error, TurnTimeout), "the refusal did not take the turn away"


def test_a_release_by_a_thread_without_the_turn_changes_nothing(ticket: TicketLock) -> None:
    ticket.acquire(0)
    stranger = threading.Thread(target=ticket.release)
    stranger.start()
    stranger.join()

    waiter = ChangeWaiter(ticket, timeout_ms=0)
    waiter.join()

    assert isinstance(waiter.error, TurnTimeout)


def test_a_closed_ticket_refuses_and_leaves_no_descriptor_and_no_thread(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    (member,) = members(1)
    assert "turn" == member.ask("acquire", 0)
    waiter = ChangeWaiter(ticket)
    eventually(lambda: blocked(path + ".turn") == 1)
    assert "released" == member.ask("release")
    waiter.join()

    ticket.close()
    ticket.close()

    with pytest.raises(RuntimeError, match="closed"):
        ticket.acquire(1_000)
    assert 0 == descriptors(path)
    eventually(lambda: "ticket lock waiter" not in [thread.name for thread in threading.enumerate()])
    assert Path(path + ".next").exists()


def test_closing_under_a_held_turn_turns_the_waiting_away(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    """The ticket closes at the release of that turn."""
    (member,) = members(1)
    ticket.acquire(0)
    waiters = [ChangeWaiter(ticket) for _ in range(2)]
    eventually(lambda: in_line(ticket) == 2)

    ticket.close()
    assert "timeout" == member.ask("acquire", 0)
    ticket.release()
    for waiter in waiters:
        waiter.join()

    assert ["this ticket lock is closed"] * 2 == [str(waiter.error) for waiter in waiters]
    assert 0 == descriptors(path)
    assert "turn" == member.ask("acquire", 0)


def test_closing_while_the_waiter_waits_lets_its_turn_pass_and_closes_then(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    holder, other = members(2)
    assert "turn" == holder.ask("acquire", 0)
    with pytest.raises(TurnTimeout):
        ticket.acquire(20)

    ticket.close()
    assert "released" == holder.ask("release")

    assert "turn" == other.ask("acquire", 5_000)
    eventually(lambda: descriptors(path) == 0)
    eventually(lambda: "ticket lock waiter" not in [thread.name for thread in threading.enumerate()])


def test_a_dropped_ticket_gives_its_files_back_even_after_a_wait(path: str, ticket: TicketLock) -> None:
    ticket.acquire(0)
    own = descriptors(path)
    dropped = TicketLock(path)
    with pytest.raises(TurnTimeout):
        dropped.acquire(20)
    assert own + 2 == descriptors(path)

    del dropped
    gc.collect()
    ticket.release()

    # Its waiter is still in the queue and can leave it only when its turn comes.
    eventually(lambda: descriptors(path) == own)
