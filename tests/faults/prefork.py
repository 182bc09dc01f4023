"""A server as many are run: it opens the store, listens, and forks children that serve, and forks others when they die.

Run as `python -m tests.faults.prefork URL CHILDREN` by the tests of forks. It says its port, then the pid of each child
as it is forked. A request is a line with an id; the answer is `ok` once the task of this id is created, else the error.
The parent creates tasks too, and says each as it was acknowledged. It must not decide anything: what is right is the
test's business.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

import sagalog
from sagalog import Engine, SagalogError
from sagalog.errors import Closed


def say(*words: object) -> None:
    # One write, so that the lines of several threads stay apart.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def serve(listener: socket.socket, engine: Engine) -> None:
    """The life of a child, until its parent is gone or it is killed."""
    while os.getppid() != 1:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection, connection.makefile("rw") as lines:
            for line in lines:
                try:
                    engine.create("request", id=line.strip())
                    lines.write("ok\n")
                except SagalogError as error:
                    lines.write(f"{error.code} {error.message}\n")
                    if isinstance(error, Closed):
                        # Forked beside a use that took too long: the parent forks another in its place.
                        lines.flush()
                        os._exit(1)
                lines.flush()


def create(engine: Engine) -> None:
    """What the parent does beside: a thread that writes all the time."""
    number = 0
    while True:
        engine.create("parent", id=f"parent-{number}")
        say("acknowledged", f"parent-{number}")
        number += 1


def main() -> None:
    """Listen, fork, and fork again in the place of who has died."""
    url, children = sys.argv[1:]
    engine = sagalog.open(url)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    listener.settimeout(0.2)
    say("port", listener.getsockname()[1])
    threading.Thread(target=create, args=(engine,), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    running = 0
    while True:
        while running < int(children):
            child = os.fork()
            if child == 0:
                serve(listener, engine)
                os._exit(0)
            running += 1
            say("child", child)
        os.wait()
        running -= 1


if __name__ == "__main__":
    main()
