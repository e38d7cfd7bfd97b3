"""What a program is told when something goes wrong: one sentence in OpenAI's form, with a status that fits.

An unexpected error shows its kind and never its content; bodies have a size; a model that is not there yet says so.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.errors import AppError, ModelLoading, ShuttingDown, UserBusy, WrongModel, log_error, sentence_of
from app.service import Service
from core.errors import CoreError, ServerError
from storage.errors import NotEmpty, NotFound, StorageError

BODY_BYTES, FILE_BYTES = 1_000_000, 16_000_000
IMPORT = "/memory/import"
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404),
    (UserBusy, 429),
    (WrongModel, 409),
    (NotEmpty, 409),
    (ModelLoading, 503),
    (ShuttingDown, 503),
    (StorageError, 500),
    (ServerError, 503),
    (AppError, 400),
    (CoreError, 400),
)


class Unauthorised(AppError):
    """A request came without a key that opens anything."""


class TooLarge(AppError):
    """A body is longer than is read."""


def refusing(service: Service) -> type[APIRoute]:
    """A kind of route that turns errors into answers."""

    class Refusing(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def handled(request: Request) -> Response:
                try:
                    await _check_size(request)
                    if not service.is_ready:
                        raise ModelLoading("The model is still loading; ask again in a few seconds.")
                    return await handler(request)
                except Exception as error:
                    log_error(error)
                    return refusal(error)

            return handled

    return Refusing


async def _check_size(request: Request) -> None:
    """Read the body as far as it may go; raise TooLarge beyond."""
    body, most = bytearray(), FILE_BYTES if request.url.path.endswith(IMPORT) else BODY_BYTES
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise TooLarge(f"The body is longer than {most:,} bytes; send less.")
    request._body = bytes(body)  # where Starlette keeps a body that was read, for whoever reads it next


def refusal(error: Exception) -> JSONResponse:
    """The answer to a request that failed."""
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return _answer(400, f"The request's {where} cannot be used: {first['msg'].lower()}.")
    if isinstance(error, HTTPException):
        return _answer(error.status_code, f"The request cannot be read: {str(error.detail).lower()}.")
    if isinstance(error, Unauthorised):
        return _answer(401, sentence_of(error))
    if isinstance(error, TooLarge):
        return _answer(413, sentence_of(error))
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    return _answer(status, sentence_of(error))


def _answer(status: int, sentence: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": sentence, "type": kind, "param": None, "code": None}}, status)
