"""A worker as a process: leaves marks in a folder when it comes somewhere, and goes on when it finds others there."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import sagalog
from sagalog import Compensation
from sagalog.worker import UndoContext, WorkContext

TTL_MS = 600


def main(store: str, folder: str, name: str) -> None:
    place = Path(folder)
    worker = sagalog.Worker(name=name, ttl_ms=TTL_MS, grace_ms=20_000)

    def mark(what: str) -> None:
        (place / what).write_text(name)

    def wait_for(what: str) -> None:
        while not (place / what).exists():
            time.sleep(0.005)

    def effect(context: WorkContext, what: str) -> str:
        with (place / f"effect-{what}").open("a") as file:
            file.write(f"{context.fence}\n")
        mark(f"began-{what}-{context.fence}")
        if context.payload.get("holds") == what and context.fence == 1:
            wait_for(f"go-on-{what}")
        return what

    @worker.task("steps")
    def steps(context: WorkContext, payload: dict[str, Any]) -> list[str]:
        done = []
        for what in ("a", "b", "c"):
            undo = Compensation("undo", {"what": what}, id=what)
            done.append(context.step(what, effect, context, what, compensation=undo))
        if payload.get("fails"):
            raise sagalog.Permanent("as it was told")
        return done

    @worker.task("patient")
    def patient(context: WorkContext, payload: dict[str, Any]) -> str:
        mark("patient")
        while not (place / "enough").exists() and not context.wait_stop(5):
            if context.stopping:
                mark("told-patient")
        context.go_on()
        return "finished"

    @worker.task("stubborn")
    def stubborn(context: WorkContext, payload: dict[str, Any]) -> str:
        mark("stubborn")
        wait_for("never")
        return "never"

    @worker.compensation("undo")
    def undo(context: UndoContext, params: dict[str, Any]) -> None:
        mark(f"undoing-{params['what']}-{context.fence}")
        if (place / f"hold-undo-{params['what']}").exists():
            wait_for(f"go-on-undo-{params['what']}")
        (place / f"effect-{params['what']}").unlink(missing_ok=True)

    with sagalog.open(f"sqlite:///{store}") as engine:
        mark(f"up-{name}")
        worker.run(engine)
    mark(f"down-{name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
