"""Types that handlers are annotated with, and one task that a real worker does until it is idle."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any, TypedDict

import msgspec

import sagalog
from sagalog import Retry

AT_ONCE = Retry(delay_min_ms=0, delay_max_ms=0)


class Line(msgspec.Struct):
    article: str
    count: int = 1


class Order(msgspec.Struct):
    lines: list[Line]
    due: datetime.date | None = None


class Even(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("an even number is wanted")


@dataclasses.dataclass
class Seat:
    row: int
    place: str


class Place(TypedDict):
    path: str


def run(worker: sagalog.Worker, engine: sagalog.Engine, kind: str, payload: Any = None, **create: Any) -> sagalog.Task:
    """What becomes of a task, until the worker finds nothing more to do now."""
    id = engine.create(kind, payload, **{"retry": AT_ONCE, "waive_compensation": "none", **create}).id
    worker.run(engine, until="idle")
    task = engine.get(id)
    assert task is not None
    return task


def told(task: sagalog.Task) -> tuple[str, str, str]:
    """The code, the message and the path of what went wrong."""
    assert task.error is not None
    return task.error.code, task.error.message, task.error.details["path"]
