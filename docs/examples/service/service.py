"""A web service whose requests become tasks, with their worker inside: uvicorn service:app."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sagalog.aio
from sagalog import Conflict, NotFound, Rejected, Unavailable, Unknown
from sagalog.worker import AsyncWorkContext

worker = sagalog.aio.Worker("orders", ttl_ms=5_000, grace_ms=1_000)
STATUSES = {msgspec.MsgspecError: 400, NotFound: 404, Rejected: 422, Conflict: 409, Unavailable: 503, Unknown: 503}


class Order(msgspec.Struct, forbid_unknown_fields=True):
    customer: str
    seconds: float


@worker.task("pack", waive_compensation="it only takes its time")
async def pack(context: AsyncWorkContext, order: Order) -> str:
    await context.step("pack", asyncio.sleep, order.seconds)
    return f"packed for {order.customer}"


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, sagalog.aio.AsyncEngine]]:
    async with sagalog.aio.open("sqlite:///orders.db") as engine, asyncio.TaskGroup() as group:
        group.create_task(worker.run(engine))
        yield {"engine": engine}
        worker.stop()


async def orders(request: Request) -> Response:
    engine, id = request.state.engine, request.path_params.get("id")
    if request.method == "POST":
        order = msgspec.json.decode(await request.body(), type=Order)
        key = request.headers.get("Idempotency-Key", "")  # under the same key it is the same task; none is refused
        task = await engine.create("pack", order, queue="orders", idempotency_key=key)
    elif request.method == "DELETE":
        task = await engine.cancel(id)
    elif (task := await engine.get(id)) is None:
        raise NotFound(f"there is no order {id!r}")
    return JSONResponse({"id": task.id, "state": task.state, "result": task.result}, 200 if task.is_terminal else 202)


async def refuse(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, next(STATUSES[kind] for kind in type(error).mro() if kind in STATUSES))


routes = [Route("/orders", orders, methods=["POST"]), Route("/orders/{id}", orders, methods=["GET", "DELETE"])]
app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=dict.fromkeys(STATUSES, refuse))
