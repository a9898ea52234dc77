"""The application: every router of `api/` and `pages/`, what refuses, and the guard around it."""

import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp

from paritygate import __version__
from paritygate.core.errors import HarnessError
from paritygate.service import api, pages, refusing
from paritygate.service.config import ServiceConfig
from paritygate.service.database import connect, migrate
from paritygate.service.gating import Recent
from paritygate.service.guard import Guard
from paritygate.service.index import catch_up
from paritygate.service.local import Looked
from paritygate.service.metrics import Metrics
from paritygate.service.problems import documented
from paritygate.service.sessions import Sessions, signer
from paritygate.service.tokens import Uses
from paritygate.service.turns import Turns


@dataclass(frozen=True)
class Service:
    """What every route is given: the configuration, and the database."""

    config: ServiceConfig
    engine: Engine
    looked: Looked = field(default_factory=Looked)
    gates: Recent = field(default_factory=Recent)


async def _service(request: Request) -> Service:  # as a coroutine it needs no thread
    return request.app.state.service


ServiceOf = Annotated[Service, Depends(_service)]


class Application(FastAPI):
    """FastAPI with the guard and the metrics around all of it, its own handling of errors included."""

    def build_middleware_stack(self) -> ASGIApp:
        counted = self.state.metrics.around(super().build_middleware_stack())
        return Turns(Guard(counted, self.state.service.config))


def create_app(config: ServiceConfig) -> FastAPI:
    """The service on its database, which is brought up to date first."""
    config.data.mkdir(parents=True, exist_ok=True)
    service = Service(config, connect(config.database))
    migrate(service.engine)
    catch_up(service)
    uses = Uses(service.engine)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(uses.close)
        service.engine.dispose()

    app = Application(
        title="paritygate",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
        responses=documented([400, 408, 413, 421, 422, 503]),  # of every route, by whatever is around it
    )
    app.state.service = service
    app.state.uses = uses
    app.state.sessions = Sessions(signer(service.engine), config.limits.session_s)
    app.state.metrics = Metrics(service.engine)
    for package in (api, pages):
        for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__, package.__name__ + ".")):
            router = getattr(importlib.import_module(module), "ROUTER", None)
            if isinstance(router, APIRouter):
                app.include_router(router)
    _refuse(app)
    return app


def _refuse(app: FastAPI) -> None:
    """Every error has one form, whoever found it."""

    @app.exception_handler(HarnessError)
    async def refuse(request: Request, reason: Exception) -> Response:
        assert isinstance(reason, HarnessError)
        return refusing.refusal(request, reason)

    @app.exception_handler(SQLAlchemyError)
    async def of_database(request: Request, reason: Exception) -> Response:
        assert isinstance(reason, SQLAlchemyError)
        return refusing.of_database(request, reason)

    @app.exception_handler(RequestValidationError)
    async def misfit(request: Request, reason: Exception) -> Response:
        assert isinstance(reason, RequestValidationError)
        return refusing.invalid(request, reason.errors())

    @app.exception_handler(HTTPException)
    async def by_status(request: Request, reason: Exception) -> Response:
        assert isinstance(reason, HTTPException)
        return refusing.by_status(request, reason.status_code, str(reason.detail), dict(reason.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, reason: Exception) -> Response:
        return refusing.by_status(request, 400, "the connection was lost")  # nobody reads it

    @app.exception_handler(Exception)
    async def unexpected(request: Request, reason: Exception) -> Response:
        return refusing.unexpected(request, reason)
