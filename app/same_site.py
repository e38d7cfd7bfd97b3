"""Pages of other sites may show this one, but not act in it: what its visitors are signed in with would go along.

Gradio answers scripts of every site, with cookies. The API is open to them all the same: it takes a key, and no cookie.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = "/v1/"
REFUSAL = (
    "This was sent by a page of another site, so it is not done; "
    "behind a proxy, have it pass on the Host that browsers ask for."
)


class SameSite:
    """Refuses every POST that a browser sends for a page of another site."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, or answer 403."""
        posted = scope["type"] == "http" and scope["method"] == "POST" and not scope["path"].startswith(OPEN)
        if posted and is_from_elsewhere(Headers(scope=scope)):
            await JSONResponse({"detail": REFUSAL}, 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether the page that sent this is of another site; a program says nothing of a page, and is none.

    A browser says so itself over HTTPS and to the machine that it runs on, else it names the page's origin.
    """
    if site := headers.get("sec-fetch-site"):
        return site in ("cross-site", "same-site")
    origin = headers.get("origin")
    ours = {headers.get("host"), headers.get("x-forwarded-host")}
    return origin is not None and urlsplit(origin).netloc not in ours
