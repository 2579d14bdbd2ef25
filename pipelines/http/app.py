"""The application: routes, what every request passes, and errors as one sentence with the right status."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.http import analysis, batches, catalogue, docs, metrics, occurrences, own, projects
from pipelines.http.access import from_another_site
from pipelines.http.answers import Json, now, status_of
from pipelines.http.service import Service
from sheaf import __version__
from sheaf.errors import SheafError
from sheaf.settings import Settings

_LOG = logging.getLogger(__name__)
_HERE = ("localhost", "127.0.0.1", "[::1]", "::1", "testserver")


def build_app(settings: Settings) -> FastAPI:
    """The application for one configuration."""
    service = Service.of(settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        Thread(target=service.launcher.resume, name="resume", daemon=True).start()
        yield
        service.launcher.close()

    app = FastAPI(
        title="Sheaf",
        version=__version__,
        description="Versioned, verified datasets: what there is, making exports, fetching them.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=life,
    )
    app.state.service = service
    app.state.metrics = metrics.Metrics()
    for module in (catalogue, own, batches, analysis, occurrences, projects, metrics):
        app.include_router(module.router)
    app.add_api_route("/api/v1/docs", lambda: _described(app), include_in_schema=False)
    app.add_api_route("/docs", lambda: RedirectResponse("/api/v1/docs"), include_in_schema=False)
    app.add_api_route("/health", analysis.health, include_in_schema=False)
    app.add_exception_handler(SheafError, _sheaf_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(Exception, _defect)
    app.add_middleware(_Guard, most_bytes=int(settings.serve.upload_mb * 1_000_000))
    allowed = [*_HERE, settings.serve.host, *settings.serve.hosts]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[host for host in allowed if host != "0.0.0.0"])  # noqa: S104
    return app


def _described(app: FastAPI) -> Response:
    headers = {"Content-Security-Policy": docs.policy(), "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(docs.page(app.openapi()), headers=headers)


def _answer(request: Request, status: int, why: Any, headers: dict[str, str] | None = None) -> Response:
    """An error in the shape that the caller's specification prints."""
    if request.url.path.startswith(("/api/v1/analysis", "/api/v1/reports")):
        return Json({"success": False, "error": why, "timestamp": now()}, status, headers=headers)
    return Json(why if isinstance(why, dict) else {"detail": why}, status, headers=headers)


async def _sheaf_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SheafError)
    status = status_of(error)
    if request.url.path.startswith("/api/v1/analysis") and status == 409:  # a CSV that cannot be used
        status = 400
    return _answer(request, status, str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, error.detail, dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError | ValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    key, message = ".".join(where) or "The request", first["msg"].removeprefix("Value error, ")
    sentence = f"{key} cannot be used: {message[:1].lower()}{message[1:]}."
    bad = request.url.path.startswith("/api/v1/analysis") or isinstance(error, ValidationError)
    return _answer(request, 400 if bad else 422, sentence)


async def _defect(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s", request.method, request.url.path, exc_info=error)
    return _answer(request, 500, "Something went wrong in Sheaf itself; its log says what.")


class _TooLargeError(Exception):
    """The body is larger than what is accepted."""


class _Guard:
    """What every request passes: no pages of other sites, no bodies without end, and headers for browsers."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app, self._most = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        length = headers.get("content-length", "0")
        if from_another_site(scope["method"], headers):
            await _refused(scope, 403, "A page of another site must not do this.")(scope, receive, send)
        elif not length.isdecimal() or int(length) > self._most:
            await self._too_large(scope)(scope, receive, send)
        else:
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, begun = 0, False

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._most:
                raise _TooLargeError
            return message

        async def told(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, counting, told)
        except _TooLargeError:
            if not begun:
                await self._too_large(scope)(scope, receive, send)

    def _too_large(self, scope: Scope) -> Response:
        return _refused(scope, 413, f"The request is larger than {self._most / 1e6:g} MB.")


def _refused(scope: Scope, status: int, why: str) -> Response:
    return _answer(Request(scope), status, why)
