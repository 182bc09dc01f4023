"""The handlers of the demo: `sagalog worker run --handlers sagalog_cli.demo.handlers:worker` runs them.

They show how work for sagalog is written. Each effect is a named step. The undo of an effect is on record before the
effect is made. A step can be repeated, since its worker may be killed before the result is on record.

Rule: a handler knows its payload and the results of its steps, and nothing of other workers or of the demo.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sagalog import Compensation, Permanent, Worker
from sagalog.worker import Context, UndoContext, WorkContext
from sagalog_cli.demo.repository import Repository, environment
from sagalog_cli.demo.tasks import APPROVED, ENDS_WITH_INPUT, QUEUE, TTL_MS

_GRACE_MS: Final = 1_000

# All workers of the demo run these handlers, so an undo that is missing here is known to no worker.
worker = Worker(queues=QUEUE, concurrency=3, ttl_ms=TTL_MS, grace_ms=_GRACE_MS, quarantine_unknown=True)


@worker.task("change")
def change(context: WorkContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Make a branch and a worktree, commit a part and build it; if asked to, wait for approval and merge it."""
    workspace = Workspace(context, payload)
    workspace.prepare()
    if payload["rents_a_machine"]:
        # No worker of the demo has a handler that gives it back.
        machine = Compensation("return-machine", {"machine": workspace.name}, reason="it costs money")
        context.step("rent", workspace.rent, compensation=machine)
    commit: str = context.step("commit", workspace.commit, payload["part"])
    built = context.step("build", workspace.build)
    if built["status"] != 0:
        raise Permanent(f"the build ended with exit status {built['status']}", code="build_failed")
    result: dict[str, Any] = {"commit": commit}
    if payload["needs_approval"]:
        result["approved"] = context.wait_signal(APPROVED)
        result["merged"] = context.step("merge", workspace.merge, commit)
    return result


@worker.task("release")
def release(context: WorkContext, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Let children build the parts, wait for all of them, and merge their commits."""
    for part, content in payload["parts"].items():
        context.spawn(part, "change", content, queue=QUEUE)
    children = context.wait_tasks()
    if not all(child.state == "completed" for child in children):
        raise Permanent("a part was not built", waive_compensation="nothing was made but by the parts themselves")
    workspace = Workspace(context, payload)
    workspace.prepare()
    merged = context.step("merge", workspace.merge_all, [child.result["commit"] for child in children])
    return {"merged": merged}


@worker.compensation("remove-worktree")
def remove_worktree(context: UndoContext, params: Mapping[str, Any]) -> None:
    """Undo a worktree."""
    Workspace(context, params).repository.remove_worktree(params["name"])


@worker.compensation("delete-branch")
def delete_branch(context: UndoContext, params: Mapping[str, Any]) -> None:
    """Undo a branch."""
    Workspace(context, params).repository.delete_branch(params["name"])


class Workspace:
    """The place where one task works: its branch and its worktree have the same `name`."""

    def __init__(self, context: Context, where: Mapping[str, Any]) -> None:
        self._context = context
        self._folder = Path(where["folder"])
        self.name: str = where["name"]
        self.repository = Repository(self._folder)

    def prepare(self) -> None:
        """Make a branch and a worktree; the undo of each is on record before it is made."""
        context, params = self._context, {"folder": str(self._folder), "name": self.name}
        assert isinstance(context, WorkContext)
        context.step("branch", self._add_branch, compensation=Compensation("delete-branch", params))
        context.step("worktree", self._add_worktree, compensation=Compensation("remove-worktree", params))

    def _add_branch(self) -> str:
        self._note("branch")
        return self.repository.add_branch(self.name)

    def _add_worktree(self) -> str:
        self._note("worktree")
        return self.repository.add_worktree(self.name)

    def rent(self) -> None:
        """Rent a machine, which leaves a line in the journal and nothing else."""
        self._note("rent")

    def commit(self, part: str) -> str:
        """Commit the text of the part."""
        self._note("commit")
        return self.repository.commit(self.name, f"parts/{self.name}.sh", part)

    def build(self) -> dict[str, Any]:
        """Run the build in the worktree, and keep its output as an artifact."""
        self._note("build")
        process = subprocess.Popen(  # noqa: S603  our own script and name
            ["sh", "build.sh", self.name],  # noqa: S607
            cwd=self.repository.worktree(self.name),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with self._context.on_stop(process.kill):
            output, _ = process.communicate()
        # Raises if the handler has to end: then the build was killed and has no result.
        self._context.go_on()
        self._context.artifact("build", self._built() + output, "text/plain")
        return {"status": process.returncode}

    def _built(self) -> bytes:
        path = self.repository.worktree(self.name) / "built" / self.name
        return path.read_bytes() if path.exists() else b""

    def merge(self, commit: str) -> str:
        """Merge a commit into `main`."""
        self._note("merge")
        return self.repository.merge(commit)

    def merge_all(self, commits: list[str]) -> str:
        """Merge commits into the task's own branch; return its newest commit."""
        self._note("merge")
        return [self.repository.merge(commit, into=self.name) for commit in commits][-1]

    def _note(self, step: str) -> None:
        """Write into the journal that a step begins in this process; a step that runs twice has two lines."""
        line = json.dumps({"task": self._context.task.id, "step": step, "pid": os.getpid()}) + "\n"
        journal = os.open(self._folder / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(journal, line.encode())
        finally:
            os.close(journal)


def _end_with_input() -> None:
    """End when the demo has ended, however it ended: it alone holds the other end of standard input."""
    while os.read(0, 512):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if os.environ.get(ENDS_WITH_INPUT):
    threading.Thread(target=_end_with_input, name="end-with-input", daemon=True).start()
