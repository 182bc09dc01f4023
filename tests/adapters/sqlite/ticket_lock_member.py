"""A member: a process of its own with a ticket on a path, which does what it is told and says what came of it.

Run as `python -m tests.adapters.sqlite.ticket_lock_member PATH` by `ticket_lock_callers.py`. Each line of input is a
command with its words; each answer is one line. It ends with its input.

It must not decide anything: what is right is the test's business.
"""

import os
import resource
import signal
import sys
import threading
import time

from sagalog_sqlite.ticket_lock import TicketLock, TurnTimeout


class Member:
    """The commands; each method is one."""

    def __init__(self, path: str) -> None:
        self._ticket = TicketLock(path)

    def acquire(self, timeout_ms: str) -> str:
        try:
            self._ticket.acquire(int(timeout_ms))
        except TurnTimeout:
            return "timeout"
        except KeyboardInterrupt:
            return "interrupted"
        return "turn"

    def release(self) -> str:
        self._ticket.release()
        return "released"

    def share(self, from_s: str, until_s: str) -> str:
        """Take turns, each about as long as a commit, all through a span of the monotonic clock."""
        turns, worst_s, began = 0, 0.0, 0.0
        time.sleep(max(0.0, float(from_s) - time.monotonic()))
        while began < float(until_s):
            began = time.monotonic()
            self._ticket.acquire(10_000)
            worst_s = max(worst_s, time.monotonic() - began)
            time.sleep(0.0001)
            self._ticket.release()
            turns += 1
        return f"{turns} {worst_s * 1000:.1f}"

    def count(self, path: str, until_s: str, threads: str, timeout_ms: str) -> str:
        """Raise the number in a file, in several threads; nothing but the ticket keeps them apart.

        Answers how often the number was raised, and how often a turn did not come in time.
        """
        outcomes: list[bool] = []

        def work() -> None:
            while time.monotonic() < float(until_s):
                outcomes.append(self._raise_number(path, int(timeout_ms)))

        crew = [threading.Thread(target=work) for _ in range(int(threads))]
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        return f"{outcomes.count(True)} {outcomes.count(False)}"

    def _raise_number(self, path: str, timeout_ms: int) -> bool:
        try:
            self._ticket.acquire(timeout_ms)
            with open(path, "r+") as file:
                number = int(file.read())
                time.sleep(0.0005)
                file.seek(0)
                file.write(str(number + 1))
        except TurnTimeout:
            return False
        finally:
            self._ticket.release()
        return True

    def interrupt_in_line(self) -> str:
        """Be interrupted while another thread of this process has the turn."""
        held, free = threading.Event(), threading.Event()

        def hold() -> None:
            self._ticket.acquire(0)
            held.set()
            while not self._ticket._threads._waiting:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)
            free.wait()
            self._ticket.release()

        other = threading.Thread(target=hold)
        other.start()
        held.wait()
        answer = self.acquire("10000")
        free.set()
        other.join()
        return answer

    def fork(self) -> str:
        """Have a child that inherits the ticket, tries to use it all the same, and lives as long as our input."""
        to_parent, from_child = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                self._ticket.acquire(0)
            except RuntimeError:
                os.write(from_child, b"refused")
            self._ticket.release()
            self._ticket.close()
            os.close(from_child)
            sys.stdin.read()
            os._exit(0)
        os.close(from_child)
        with open(to_parent) as answer:
            return f"{child} {answer.read()}"

    def fill_disk(self) -> str:
        """From now on no write of this process to a file succeeds."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        return "full"


def main() -> None:
    """Serve the commands."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    member = Member(sys.argv[1])
    answer("ready")
    for line in sys.stdin:
        command, *words = line.split()
        answer(getattr(member, command)(*words))


def answer(text: str) -> None:
    """Say one line to the test."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
