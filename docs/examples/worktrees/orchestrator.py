"""Run command lines in git worktrees: python orchestrator.py REPOSITORY COMMANDS, and again if it was killed."""

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

import sagalog
from sagalog import Compensation, Retry
from sagalog.worker import Context, WorkContext
from sagalog_command import Command, run

worker = sagalog.Worker("worktrees", concurrency=8, ttl_ms=5_000)


class Job(msgspec.Struct):
    line: str
    repository: str
    worktree: str


@worker.task("command")
def work(context: WorkContext, job: Job) -> object:
    context.step("add", add, job, compensation=Compensation("remove", job))
    result = context.step("run", run, context, Command(("sh", "-c", job.line), cwd=job.worktree))  # keeps its output
    context.step("remove", remove, context, job)
    return result


def add(job: Job) -> None:
    shutil.rmtree(job.worktree, ignore_errors=True)  # what a killed attempt has left
    git(job, "add", "--quiet", "--force", "--force", "--detach", job.worktree)


@worker.compensation("remove")
def remove(_: Context, job: Job) -> None:
    shutil.rmtree(job.worktree, ignore_errors=True)
    git(job, "prune")


def git(job: Job, *words: str) -> None:
    with open(f"{job.repository}-worktrees.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one git fails at what another, even of a killed program, has half made
        subprocess.run(["git", "-C", job.repository, "worktree", *words], check=True, pass_fds=[lock.fileno()])


if __name__ == "__main__":
    repository, lines = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).read_text().splitlines()
    jobs = {f"line-{n}": Job(line, f"{repository}", f"{repository}-worktrees/{n}") for n, line in enumerate(lines, 1)}
    common = {"kind": "command", "queue": "worktrees", "retry": Retry(attempts_max=1)}
    with sagalog.open(f"sqlite:///{repository}-worktrees.db") as engine:
        engine.create_many({"id": id, "payload": job, **common} for id, job in jobs.items())  # what is there stays so
        worker.run(engine, until="drained")
        for task in engine.find(queue="worktrees", state=["failed", "compensated", "quarantined"]):
            print(task.id, task.state, task.error and task.error.message)
        print(engine.counts("worktrees"))
