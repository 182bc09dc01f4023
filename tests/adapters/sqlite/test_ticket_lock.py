"""The ticket between real processes and threads: fair turns, deadlines that hold, and no lock left behind.

Members are processes of their own with a ticket on the same path (`ticket_member.py`). Nothing sleeps for luck: who
waits for which lock is read from the kernel's table, so these tests need Linux.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from sagalog_sqlite.ticket_lock import TicketLock, TurnTimeout
from tests.adapters.sqlite.ticket_lock_callers import ChangeWaiter, Member, blocked, eventually, in_line, is_stopped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "some.db")


def test_no_two_have_the_turn_at_once_and_every_caller_who_waits_gets_it(
    tmp_path: Path, members: Callable[[int], list[Member]]
) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    crew = members(3)

    for member in crew:
        member.tell("count", counter, time.monotonic() + 0.25, 3, 30_000)
    answers = [member.hear().split() for member in crew]

    assert ["0"] * 3 == [late for _, late in answers]
    assert sum(int(raised) for raised, _ in answers) == int(counter.read_text()) > 0


def test_deadlines_that_pass_as_the_turn_comes_lose_no_turn(
    tmp_path: Path, members: Callable[[int], list[Member]]
) -> None:
    """No two callers share one."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    crew = members(3)

    for member in crew:
        member.tell("count", counter, time.monotonic() + 0.4, 2, 2)
    answers = [member.hear().split() for member in crew]

    assert all(int(late) > 0 for _, late in answers), "no deadline has passed: the test shows nothing"
    assert sum(int(raised) for raised, _ in answers) == int(counter.read_text()) > 0
    for member in crew:
        assert ["turn", "released"] == [member.ask("acquire", 5_000), member.ask("release")]


def test_processes_that_write_all_the_time_share_fairly_and_wait_briefly(
    members: Callable[[int], list[Member]],
) -> None:
    crew = members(4)
    began = time.monotonic() + 0.05

    for member in crew:
        member.tell("share", began, began + 0.8)
    answers = [member.hear().split() for member in crew]

    shares = [int(turns) for turns, _ in answers]
    worst_ms = max(float(waited) for _, waited in answers)
    mean = sum(shares) / len(shares)
    sys.stdout.write(
        f"turns {shares}, {min(shares) / mean - 1:+.1%}..{max(shares) / mean - 1:+.1%}, worst {worst_ms} ms\n"
    )  # seen with -s or -rP
    assert all(0.75 * mean < share < 1.25 * mean for share in shares)
    assert worst_ms < 250


def test_threads_are_served_in_order_of_arrival(ticket: TicketLock) -> None:
    served: list[int] = []
    ticket.acquire(0)

    waiters: list[ChangeWaiter] = []
    for number in range(8):
        waiters.append(ChangeWaiter(ticket, partial(served.append, number)))
        eventually(lambda: in_line(ticket) == len(waiters))
    ticket.release()
    for waiter in waiters:
        waiter.join()

    assert list(range(8)) == served


def test_a_deadline_passes_while_the_holder_is_stopped_and_names_it(
    ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    """The error names the holder."""
    (holder,) = members(1)
    assert "turn" == holder.ask("acquire", 0)
    holder.process.send_signal(signal.SIGSTOP)
    eventually(lambda: is_stopped(holder.pid))

    began = time.monotonic()
    with pytest.raises(TurnTimeout) as refused:
        ticket.acquire(150)
    took_ms = (time.monotonic() - began) * 1000

    assert 150 <= took_ms < 1_150
    assert 150 <= refused.value.waited_ms <= round(took_ms)
    assert holder.pid == refused.value.holder_pid


def test_who_is_stopped_at_the_head_of_the_queue_is_named_too(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    holder, head = members(2)
    assert "turn" == holder.ask("acquire", 0)
    head.tell("acquire", 10_000)
    eventually(lambda: blocked(path + ".turn") == 1)
    head.process.send_signal(signal.SIGSTOP)
    eventually(lambda: is_stopped(head.pid))
    assert "released" == holder.ask("release")

    with pytest.raises(TurnTimeout) as refused:
        ticket.acquire(100)

    assert head.pid == refused.value.holder_pid


def test_the_next_one_has_the_turn_at_once_when_the_holder_is_killed(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    (holder,) = members(1)
    assert "turn" == holder.ask("acquire", 0)
    served: list[float] = []
    waiter = ChangeWaiter(ticket, lambda: served.append(time.monotonic()))
    eventually(lambda: blocked(path + ".turn") == 1)

    killed = time.monotonic()
    holder.kill()
    waiter.join()

    assert served[0] - killed < 1


def test_a_caller_that_gave_up_does_not_keep_the_turn_that_comes_later(
    ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    holder, other = members(2)
    assert "turn" == holder.ask("acquire", 0)
    with pytest.raises(TurnTimeout):
        ticket.acquire(20)

    assert "released" == holder.ask("release")

    assert "turn" == other.ask("acquire", 5_000)


def test_a_caller_that_comes_back_takes_up_the_place_it_left(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    holder, later = members(2)
    assert "turn" == holder.ask("acquire", 0)
    with pytest.raises(TurnTimeout):
        ticket.acquire(20)
    later.tell("acquire", 10_000)
    eventually(lambda: blocked(path + ".next") == 1)

    # The later one keeps the turn once it has it: we get it only if we are still before it.
    back = ChangeWaiter(ticket)
    assert "released" == holder.ask("release")
    back.join()

    assert back.error is None
    assert "turn" == later.hear()


def test_a_try_without_time_does_not_lose_the_place_that_was_kept(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    holder, later = members(2)
    assert "turn" == holder.ask("acquire", 0)
    with pytest.raises(TurnTimeout):
        ticket.acquire(20)

    with pytest.raises(TurnTimeout):
        ticket.acquire(0)

    later.tell("acquire", 10_000)
    eventually(lambda: blocked(path + ".next") + blocked(path + ".turn") == 2)
    eventually(lambda: blocked(path + ".next") == 1)  # so we are still the head


def test_a_thread_that_gives_up_leaves_the_line_and_names_its_own_process(ticket: TicketLock) -> None:
    ticket.acquire(0)
    waiter = ChangeWaiter(ticket, timeout_ms=20)
    waiter.join()

    assert isinstance(waiter.error, TurnTimeout)
    assert os.getpid() == waiter.error.holder_pid
    assert 0 == in_line(ticket)


def test_without_time_only_a_free_turn_is_taken_and_no_place_in_the_queue(
    path: str, ticket: TicketLock, members: Callable[[int], list[Member]]
) -> None:
    (holder,) = members(1)
    assert "turn" == holder.ask("acquire", 0)

    with pytest.raises(TurnTimeout):
        ticket.acquire(0)

    assert 0 == blocked(path + ".turn")
    assert "released" == holder.ask("release")
    ticket.acquire(0)
