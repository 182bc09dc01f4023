"""What an operator asks of a worker: to drain, or to stop.

Rule: the request is a row beside the log that only operators write; the worker looks at it, and answers by its own row.
[WORKER-8] So nothing is sent, and a worker that is gone is not asked.
"""

from __future__ import annotations

import msgspec

from sagalog.engine.executor import Executor
from sagalog.engine.workers import REQUESTS, WorkerInfo, WorkerRequest, WorkerVerb, request_in
from sagalog.errors import NotFound, Rejected
from sagalog.validation.values import check_name


def ask(executor: Executor, name: str, verb: WorkerVerb) -> WorkerInfo:
    """Ask a live worker to drain or to stop; return it as it was last seen.

    A request to stop outranks one to drain, so asking for less than was asked before changes nothing.

    Raises:
        NotFound: no worker has this name. Rejected: it is not live.
    """
    worker = _live(executor, check_name(name, "name"))
    content = msgspec.json.encode(WorkerRequest(verb, executor.actor, executor.clock.now_ms())).decode()
    while True:
        before = executor.queries.kept(REQUESTS, name)
        asked = request_in(before)
        if asked is not None and asked.verb in (verb, "stop"):
            return worker
        if executor.keep(REQUESTS, name, before, content):
            return worker


def _live(executor: Executor, name: str) -> WorkerInfo:
    workers = executor.queries.workers()
    live = [one.name for one in workers if one.is_live]
    named = f"the live ones are {', '.join(map(repr, live))}" if live else "no worker is live"
    for worker in workers:
        if worker.name == name and worker.is_live:
            return worker
        if worker.name == name:
            what = "has ended" if worker.state == "ended" else "was not seen for 30 s, so it cannot be asked"
            raise Rejected(f"the worker {name!r} {what}; {named}", worker=name, live=live)
    raise NotFound(f"there is no worker {name!r}; {named}", worker=name, live=live)
