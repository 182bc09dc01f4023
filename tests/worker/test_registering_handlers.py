"""Workers and their handlers as they are declared: what is refused before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

import sagalog
from sagalog.worker import WorkContext
from tests.worker.worker_processes import at_work, ended


@pytest.mark.parametrize("decorator", ["task", "compensation"])
def test_a_decorator_without_its_kind_is_refused(decorator: str) -> None:
    worker = sagalog.Worker()
    with pytest.raises(sagalog.InvalidValue, match=rf"name the kind, as in @worker\.{decorator}\("):
        getattr(worker, decorator)(print)


@pytest.mark.parametrize("strict", ["yes", 1, None])
def test_strict_is_true_or_false(strict: Any) -> None:
    with pytest.raises(sagalog.InvalidValue, match="strict: expected True or False"):
        sagalog.Worker().task("order", strict=strict)


def test_a_worker_without_handlers_and_one_that_runs_already_say_so(real: sagalog.Engine) -> None:
    worker = sagalog.Worker()
    with pytest.raises(sagalog.Rejected, match="no handler"):
        worker.run(real)

    @worker.task("do")
    def do(_context: WorkContext, _payload: Any) -> None: ...

    with pytest.raises(sagalog.InvalidValue, match="has a handler already"):
        worker.task("do")(do)
    id = real.create("do").id
    with at_work(worker, real):
        ended(real, id)
        with pytest.raises(sagalog.Rejected, match="runs already"):
            worker.run(real)
    assert worker.run(real, until="idle").claimed == 0
