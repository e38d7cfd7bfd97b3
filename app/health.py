"""Whether the process is alive, whether it can answer, and how it does: for whatever watches it."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.errors import EXPECTED
from app.service import Service


def health(service: Service) -> APIRouter:
    """`/healthz` as soon as the server is up, `/readyz` once model and database answer, `/metrics` for Prometheus."""
    router = APIRouter()

    @router.get("/healthz", include_in_schema=False)
    async def alive() -> dict[str, str]:  # on the event loop, since every thread may be busy
        return {"status": "ok"}

    @router.get("/readyz", include_in_schema=False)
    def ready() -> JSONResponse:
        try:
            missing = "" if service.is_ready else "the model is loading"
            service.check_database()
        except EXPECTED as error:
            missing = type(error).__name__  # the sentence names files, which are nobody's business here
        return JSONResponse({"status": missing or "ok"}, 503 if missing else 200)

    @router.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    return router
