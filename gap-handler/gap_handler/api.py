"""The HTTP surface: POST /backfill, GET /backfill/{id}, /health, /metrics and /docs."""

from __future__ import annotations

import asyncio
import hmac
from typing import Annotated, Any, Final, Literal

import asyncpg
from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from gap_handler import demand as demands
from gap_handler.demand import Problem, RefusedError
from gap_handler.health import HealthCheck, Status
from gap_handler.jobs import Jobs
from marketdata.database import TRANSIENT
from marketdata.errors import DatabaseUnavailableError
from marketdata.log import get_logger
from marketdata.minutes import isoformat

log = get_logger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
_BODY_SECONDS: Final = 10.0
_LARGEST_ID: Final = 2**63 - 1


class BackfillRequest(BaseModel):
    """Minutes ``[start, end)`` of a symbol that this deployment captures."""

    model_config = ConfigDict(extra="forbid")

    symbol: str = Field(min_length=1, max_length=64, examples=["BTCUSDT"])
    start: str = Field(description="First minute, ISO 8601 with zone.", examples=["2026-01-31T12:00:00Z"])
    end: str = Field(description="First minute after the range.", examples=["2026-01-31T13:00:00Z"])


class BackfillAccepted(BaseModel):
    """``status``: ``open`` (new), ``joined`` (an open gap has them), ``completed`` (nothing is missing)."""

    id: int
    status: Literal["open", "joined", "completed"]
    symbol: str
    start: str
    end: str


class BackfillStatus(BaseModel):
    """``status``: ``open``, ``running``, ``waiting`` (see ``waiting_for``) or ``completed``."""

    id: int
    symbol: str
    start: str
    end: str
    status: Literal["open", "running", "waiting", "completed"]
    candles_missing: int = Field(description="Minutes without a candle that are not a confirmed outage.")
    candles_recovered: int
    outage_minutes: int = Field(description="Minutes that the exchange does not have either.")
    attempts: int
    waiting_for: str | None


class HealthReport(BaseModel):
    """What matters most of the report; it has more."""

    model_config = ConfigDict(extra="allow")

    status: Status
    service: str
    reasons: list[str]
    database_status: Literal["connected", "disconnected"]
    exchange_status: str


class Failure(BaseModel):
    """Why a request as a whole was not served."""

    detail: str


class FieldProblem(BaseModel):
    """One thing that is wrong with a request. ``field`` is ``body`` for all of a body."""

    loc: list[str]
    field: str
    msg: str
    type: str


class Refusal(BaseModel):
    """What is wrong with a request, field by field."""

    detail: list[FieldProblem]


class BodyTooLargeError(Exception):
    """The body is larger than any request needs to be."""


async def read_body(request: Request) -> bytes:
    """Return the body. Raises ``BodyTooLargeError`` as soon as it is known to be too large."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and (len(declared) > 9 or int(declared) > MAX_BODY_BYTES):
        raise BodyTooLargeError
    body = bytearray()
    async with asyncio.timeout(_BODY_SECONDS):
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise BodyTooLargeError
    return bytes(body)


def _authorized(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token.encode())


def _problems(problems: list[Problem], place: str = "body") -> JSONResponse:
    detail = [
        FieldProblem(
            loc=[place] if field == place else [place, field],
            field=field,
            msg=f"{field} {message}",
            type="value_error",
        )
        for field, message in problems
    ]
    return JSONResponse(Refusal(detail=detail).model_dump(), 422)


async def _no_such_id(_: Request, error: Exception) -> JSONResponse:
    """Answer a path that names no possible backfill, in the words every other refusal has."""
    assert isinstance(error, RequestValidationError)
    names = dict.fromkeys(str(problem["loc"][-1]) for problem in error.errors())
    return _problems([Problem(name, f"must be a number from 1 to {_LARGEST_ID}") for name in names], "path")


def _declared(model: type[BaseModel], **descriptions: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI is told of answers: ``_404="…"``, all of one shape."""
    return {
        int(status[1:]): {"model": model, "description": description}
        for status, description in descriptions.items()
    }


def _unavailable(error: BaseException) -> JSONResponse:
    log.warning("request_not_served", reason=str(error) or type(error).__name__)
    ours = isinstance(error, DatabaseUnavailableError)
    reason = str(error) if ours else "the database cannot be used at the moment"
    return JSONResponse({"detail": reason}, 503, {"Retry-After": "5"})


def create_app(jobs: Jobs, health: HealthCheck, token: str) -> FastAPI:
    """Return the application. ``token`` empty: POST /backfill is open to whoever reaches the port."""
    token = token.strip()
    app = FastAPI(title="gap-handler", description="Repairs holes in the candle history.")
    app.add_exception_handler(RequestValidationError, _no_such_id)
    answers = _declared(Failure, _503="The database cannot be used now.")

    @app.post(
        "/backfill",
        status_code=202,
        response_model=BackfillAccepted,
        responses=answers
        | _declared(
            Failure,
            _400="The connection ended before the body did.",
            _401="The bearer token is missing or wrong.",
            _408="The body took too long.",
            _413="The body is too large.",
        )
        | _declared(Refusal, _422="A field is missing or wrong; `detail` names it."),
        # Read by hand, before the body: this only declares it.
        dependencies=[Depends(HTTPBearer(auto_error=False, scheme_name="BACKFILL_TOKEN"))] if token else [],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": BackfillRequest.model_json_schema()}},
            }
        },
    )
    async def request_backfill(request: Request) -> Any:
        """Have the missing minutes of a range fetched. Asking twice joins the same work."""
        if token and not _authorized(request, token):
            return JSONResponse(
                {"detail": "POST /backfill wants BACKFILL_TOKEN as a bearer token"},
                401,
                {"WWW-Authenticate": "Bearer"},
            )
        try:
            demand = demands.parse(await read_body(request))
        except BodyTooLargeError:
            return JSONResponse({"detail": f"the body is larger than {MAX_BODY_BYTES} bytes"}, 413)
        except TimeoutError:
            return JSONResponse({"detail": f"the body took longer than {_BODY_SECONDS:.0f} s"}, 408)
        except ClientDisconnect:
            return JSONResponse(
                {"detail": "the connection ended before the body did"}, 400
            )  # nobody reads it
        except RefusedError as error:
            return _problems(error.problems)
        try:
            accepted = await jobs.submit(demand)
        except RefusedError as error:
            return _problems(error.problems)
        except (DatabaseUnavailableError, asyncpg.PostgresError, *TRANSIENT) as error:
            return _unavailable(error)
        return BackfillAccepted(
            id=accepted.id,
            status=accepted.status,
            symbol=demand.symbol,
            start=isoformat(demand.start),
            end=isoformat(demand.end),
        )

    @app.get(
        "/backfill/{job_id}",
        response_model=BackfillStatus,
        responses=answers
        | _declared(Failure, _404="There is no such backfill.")
        | _declared(Refusal, _422="The path names no possible backfill."),
    )
    async def backfill_status(job_id: Annotated[int, Path(ge=1, le=_LARGEST_ID)]) -> Any:
        """How a backfill is getting on."""
        try:
            status = await jobs.status(job_id)
        except (asyncpg.PostgresError, *TRANSIENT) as error:
            return _unavailable(error)
        if status is None:
            return JSONResponse({"detail": f"there is no backfill {job_id}"}, 404)
        return status

    @app.get(
        "/health",
        responses=_declared(
            HealthReport,
            _200="The service works; `degraded` where something keeps it from working well.",
            _503="This process, or its database, cannot work.",
        ),
    )
    async def health_report() -> JSONResponse:
        """Whether the service works, and what keeps it from working well."""
        status, report = await health.look()
        return JSONResponse(report, 503 if status is Status.UNHEALTHY else 200)

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics_text() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app
