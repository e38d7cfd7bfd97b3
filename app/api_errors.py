"""What a program is told when something goes wrong: one sentence in OpenAI's form, with a status that fits.

An unexpected error shows its kind and never its content; bodies have a size; a model that is not there yet says so.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Literal

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.errors import (
    AppError,
    ModelLoading,
    NothingLent,
    ShareFull,
    ShuttingDown,
    UserBusy,
    WrongModel,
    log_error,
    sentence_of,
)
from app.service import Service
from core.errors import CoreError, ServerError
from storage.errors import NotEmpty, NotFound, StorageError
from storage.records import User

BEARER = HTTPBearer(auto_error=False, description="A key from `python launch.py key add --user NAME`.")
BODY_BYTES, FILE_BYTES = 1_000_000, 16_000_000
IMPORT = "/memory/import"
STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (NotFound, 404),
    (ShareFull, 403),
    (UserBusy, 429),
    (WrongModel, 409),
    (NotEmpty, 409),
    (NothingLent, 503),
    (ModelLoading, 503),
    (ShuttingDown, 503),
    (StorageError, 500),
    (ServerError, 503),
    (AppError, 400),
    (CoreError, 400),
)


class Fault(BaseModel):
    """What was refused and why, as OpenAI says it."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: None = None
    code: None = None


class Refused(BaseModel):
    """The body of every answer but a good one."""

    error: Fault


REASONS: dict[int | str, str] = {
    400: "The request cannot be used.",
    401: "The key opens nothing.",
    403: "The key's owner keeps as much as one may.",
    404: "The key's owner has nothing of this number.",
    409: "The memory was made by another model, or holds turns already.",
    413: "The body is too long.",
    429: "Another message is still being answered, or too many were sent in a minute.",
    503: "The model is loading, or the server is ending.",
    "default": "Something went wrong inside.",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refused, "description": reason} for status, reason in REASONS.items()
}


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
                    # Before the body is read: a stranger can fill no memory with it, and is told nothing about it.
                    request.state.owner = await run_in_threadpool(_owner_of, service, await BEARER(request))
                    await _check_size(request)
                    if not service.is_ready:
                        raise ModelLoading("The model is still loading; ask again in a few seconds.")
                    return await handler(request)
                except (RequestValidationError, HTTPException) as error:
                    return refusal(error)
                except Exception as error:
                    log_error(error)
                    return refusal(error)

            return handled

    return Refusing


def _owner_of(service: Service, credentials: HTTPAuthorizationCredentials | None) -> User:
    owner = service.accounts.owner_of_key(credentials.credentials) if credentials else None
    if owner is None:
        raise Unauthorised("The key opens nothing; make one with `python launch.py key add --user NAME`.")
    return owner


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
        if first["type"] == "json_invalid":
            return _answer(400, "The request's body is not JSON.")
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


def told(sent: Iterator[str]) -> Iterator[str]:
    """Pass the events of a stream on; what goes wrong on the way is the last of them, and no status any more."""
    try:
        yield from sent
    except Exception as error:
        log_error(error)
        yield f"data: {bytes(refusal(error).body).decode()}\n\n"


def _answer(status: int, sentence: str) -> JSONResponse:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": sentence, "type": kind, "param": None, "code": None}}, status)
