"""The application: every router of `api/` and `pages/`, what refuses, and what holds for each answer."""

import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Engine
from starlette.responses import Response

from paritygate import __version__
from paritygate.core.errors import HarnessError
from paritygate.service import api, pages
from paritygate.service.config import ServiceConfig
from paritygate.service.database import connect, migrate
from paritygate.service.index import catch_up
from paritygate.service.local import Looked
from paritygate.service.problems import as_json, status_of


@dataclass(frozen=True)
class Service:
    """What every route is given: the configuration, and the database."""

    config: ServiceConfig
    engine: Engine
    looked: Looked = field(default_factory=Looked)


def _service(request: Request) -> Service:
    return request.app.state.service


ServiceOf = Annotated[Service, Depends(_service)]


def create_app(config: ServiceConfig) -> FastAPI:
    """The service on its database, which is brought up to date first."""
    config.data.mkdir(parents=True, exist_ok=True)
    service = Service(config, connect(config.database))
    migrate(service.engine)
    catch_up(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.engine.dispose()

    app = FastAPI(
        title="paritygate",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.state.service = service
    for package in (api, pages):
        for module in sorted(found.name for found in pkgutil.iter_modules(package.__path__, package.__name__ + ".")):
            router = getattr(importlib.import_module(module), "ROUTER", None)
            if isinstance(router, APIRouter):
                app.include_router(router)

    @app.exception_handler(HarnessError)
    async def refuse(request: Request, reason: Exception) -> Response:
        assert isinstance(reason, HarnessError)
        return JSONResponse(as_json(reason), status_code=status_of(reason))

    return app
