"""A process that writes from several threads and forks all the while; so do some of its children.

Run as `python -m tests.faults.forker URL NAME FORKS` by the campaign of forks. Each line of its output is one write, so
that those of several processes stay apart: `acknowledged ID`, `refused TEXT` of a child that cannot use the store, and
`foreign TYPE` of an error that should never leave a call. Each child creates tasks for a moment and is killed by its
parent, or kills its parent, or ends; all by a seed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time

import sagalog
from sagalog import Engine, SagalogError, Unknown

THREADS = 2


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def create(engine: Engine, name: str, count: int) -> None:
    """Create tasks, and say what was acknowledged."""
    for number in range(count):
        id = f"{name}-{number}"
        try:
            engine.create("k", {"x": "y" * 300}, id=id)
            say("acknowledged", id)
        except Unknown:
            continue
        except SagalogError as error:
            say("refused", error.message.replace("\n", " "))
            return
        except BaseException as error:  # noqa: BLE001  # what the campaign looks for
            say("foreign", type(error).__name__, str(error).replace("\n", " "))
            return


def child(url: str, engine: Engine, name: str, entropy: random.Random) -> None:
    """What a child does: go on with the engine, or open its own; perhaps fork itself."""
    own = entropy.random() < 0.5
    try:
        mine = sagalog.open(url) if own else engine
    except SagalogError as error:
        say("refused", error.message.replace("\n", " "))
        return
    create(mine, name, entropy.randrange(1, 12))
    if entropy.random() < 0.2:
        if os.fork() == 0:
            create(mine, f"{name}-grand", 4)
            os._exit(0)
        create(mine, f"{name}-after", 4)
    if entropy.random() < 0.5:
        mine.close()


def main() -> None:
    """Fork so often, beside threads that write."""
    url, name, forks = sys.argv[1:]
    entropy = random.Random(name)
    engine = sagalog.open(url)
    for number in range(THREADS):
        thread = threading.Thread(target=create, args=(engine, f"{name}-t{number}", 1_000_000), daemon=True)
        thread.start()
    children: list[int] = []
    for number in range(int(forks)):
        seed = entropy.random()
        pid = os.fork()
        if pid == 0:
            child(url, engine, f"{name}-c{number}", random.Random(seed))
            os._exit(0)
        say("forked", pid)
        children.append(pid)
        if entropy.random() < 0.4:
            time.sleep(entropy.random() * 0.02)
            os.kill(entropy.choice(children), signal.SIGKILL)
        if len(children) > 6:
            os.waitpid(children.pop(0), 0)
        with_snapshot = entropy.random() < 0.1
        if with_snapshot:
            engine.find(limit=5)
    for pid in children:
        os.waitpid(pid, 0)
    say("done")


if __name__ == "__main__":
    main()
