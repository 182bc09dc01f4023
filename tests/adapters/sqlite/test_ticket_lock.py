"""The ticket between real processes and threads: fair turns, deadlines that hold, and no lock left behind.

Members are processes of their own with a ticket on the same path (`ticket_member.py`). Nothing sleeps for luck: who
waits for which lock is read from the kernel's table, so these tests need Linux.
"""

import errno
import gc
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from sagalog_sqlite.lock_files import LockFiles
from sagalog_sqlite.ticket_lock import TicketLock, TurnTimeout

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks")

ROOT = Path(__file__).parents[3]


class Member:
    """Our end of another process with a ticket on the same path."""

    def __init__(self, path: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.adapters.sqlite.ticket_lock_member", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.pid = self.process.pid
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout

    def tell(self, *words: object) -> None:
        self._input.write(" ".join(map(str, words)) + "\n")
        self._input.flush()

    def hear(self) -> str:
        return self._output.readline().strip()

    def ask(self, *words: object) -> str:
        self.tell(*words)
        return self.hear()

    def leave(self) -> int:
        """Let it go by itself; its exit status."""
        self._input.close()
        return self.process.wait(10)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)
        self._input.close()
        self._output.close()


class ChangeWaiter:
    """A thread of this process that acquires, does something, and releases; or keeps the error."""

    def __init__(self, ticket: TicketLock, then: Callable[[], object] = lambda: None, timeout_ms: int = 10_000) -> None:
        self.error: Exception | None = None
        self._ticket, self._then, self._timeout_ms = ticket, then, timeout_ms
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._ticket.acquire(self._timeout_ms)
            self._then()
        except (RuntimeError, TurnTimeout) as error:
            self.error = error
        finally:
            self._ticket.release()

    def join(self) -> None:
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "some.db")


@pytest.fixture
def ticket(path: str) -> Iterator[TicketLock]:
    ticket = TicketLock(path)
    yield ticket
    ticket.release()
    ticket.close()


@pytest.fixture
def members(path: str) -> Iterator[Callable[[int], list[Member]]]:
    """Start so many members; they are gone after the test, whatever happened to them."""
    with ExitStack() as stack:

        def start(number: int) -> list[Member]:
            started = [Member(path) for _ in range(number)]
            for member in started:
                stack.callback(member.kill)
            assert ["ready"] * number == [member.hear() for member in started]
            return started

        yield start


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.001)


def blocked(lock_path: str) -> int:
    """How many wait in the kernel for the lock on this file."""
    found = Path(lock_path).stat()
    inode = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino} "
    return sum("-> FLOCK" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def in_line(ticket: TicketLock) -> int:
    return len(ticket._line._waiting)


def descriptors(path: str) -> int:
    """How many descriptors of this process lead to the lock files of a path."""
    opened = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists the folder
            opened += os.readlink(link) in (path + ".next", path + ".turn")
    return opened


def is_stopped(pid: int) -> bool:
    """Each thread of it: an usher that is not yet stopped may still be given the turn."""
    return all("T" == state(int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir())


def state(pid: int) -> str:
    """The kernel's letter for what the process does."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_no_two_have_the_turn_at_once_and_every_caller_who_waits_gets_it(
    tmp_path: Path, members: Callable[[int], list[Member]]
) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    crew = members(3)

    for member in crew:
        member.tell("count", counter, time.monotonic() + 0.4, 3, 30_000)
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
        member.tell("count", counter, time.monotonic() + 0.6, 2, 2)
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
        member.tell("share", began, began + 1.5)
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


def test_an_interpreter_can_exit_while_its_usher_waits(
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


def test_a_lock_that_the_system_refuses_to_the_usher_is_raised(
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
    eventually(lambda: "ticket usher" not in [thread.name for thread in threading.enumerate()])
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

    assert ["this ticket is closed"] * 2 == [str(waiter.error) for waiter in waiters]
    assert 0 == descriptors(path)
    assert "turn" == member.ask("acquire", 0)


def test_closing_while_the_usher_waits_lets_its_turn_pass_and_closes_then(
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
    eventually(lambda: "ticket usher" not in [thread.name for thread in threading.enumerate()])


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

    # Its usher still stands in the queue and can leave it only when its turn comes.
    eventually(lambda: descriptors(path) == own)
