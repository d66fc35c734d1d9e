"""The server's application: which path does what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from seqkit._version import __version__
from seqkit.serving.guard import Guard
from seqkit.serving.limits import Limits
from seqkit.serving.metrics import ServerMetrics
from seqkit.serving.predictions import DirectPosts, Predictions
from seqkit.serving.schemas import GenerateAnswer, GenerateRequest, PredictAnswer, PredictRequest, Problem, schema_of
from seqkit.serving.served_model import ServedModel
from seqkit.serving.streams import StreamConnections
from seqkit.serving.values import json_bytes

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
"""Paths of the page to try models by hand."""

SHOWN = 100
"""Most letters of a path that a refusal repeats."""

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body is not what it should be."},
    404: {"model": Problem, "description": "There is no such model or task."},
    413: {"model": Problem, "description": "The body, or all inputs together, are too large."},
    503: {"model": Problem, "description": "Too many requests wait; try again."},
    504: {"model": Problem, "description": "It took too long."},
}


class Server:
    """The models with what they need to answer many clients.

    Args:
        models: by name.
        limits: of requests.
        hosts: names under which clients may reach the server; `*`: any.
    """

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits, hosts: list[str]) -> None:
        self.models, self.limits, self.hosts = dict(models), limits, hosts
        self.metrics = ServerMetrics()
        self.predictions = Predictions(self.models, self.limits, self.metrics)
        self.streams = StreamConnections(self.limits, self.metrics)

    def app(self) -> Guard:
        """The ASGI application."""
        app = FastAPI(
            title="seqkit",
            version=__version__,
            description=f"Trained models: {', '.join(self.models)}. Recordings and other files are sent in base64.",
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
        )
        app.add_exception_handler(HTTPException, _refuse)
        app.add_exception_handler(Exception, _fail)
        self._describe_predictions(app)
        self._add_pages(app)
        app.add_api_websocket_route("/stream", self.stream)
        posts = DirectPosts(app, {"/predict": self.predictions.predict, "/generate": self.predictions.generate})
        paths = frozenset({*PAGE, "/predict", "/generate", "/models", "/health", "/metrics", "/openapi.json"})
        return Guard(TrustedHostMiddleware(posts, self.hosts), self.limits, self.metrics, paths)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Batches are computed while the server runs; at its end, what is being computed is finished."""
        workers = self.predictions.open_batchers()
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            for model in self.models.values():
                await asyncio.to_thread(model.close)

    def _describe_predictions(self, app: FastAPI) -> None:
        """Describe the paths that `DirectPosts` answers, and refuse other methods there."""

        async def predict() -> None:
            """A prediction for each input. Inputs of several clients are computed together."""

        async def generate() -> None:
            """Text that continues the prompt, or is written for it."""

        for path, described, body, answer in (
            ("/predict", predict, PredictRequest, PredictAnswer),
            ("/generate", generate, GenerateRequest, GenerateAnswer),
        ):
            schema = schema_of(body, self.models, self.limits)
            content = {"required": True, "content": {"application/json": {"schema": schema}}}
            app.add_api_route(
                path,
                described,
                methods=["POST"],
                response_model=answer,
                responses=REFUSALS,
                openapi_extra={"requestBody": content},
            )

    async def stream(self, socket: WebSocket) -> None:
        """A sequence that comes in pieces: see `StreamConnections.serve`."""
        try:
            model, task = self.predictions.choose(socket.query_params.get("model"), socket.query_params.get("task"))
        except HTTPException as error:
            await self.streams.refuse(socket, str(error.detail))
            return
        await self.streams.serve(socket, model, task)

    # ---- everything else

    def _add_pages(self, app: FastAPI) -> None:
        async def models() -> Response:
            """The models with their tasks: what they read and what they predict."""
            return _json({name: [vars(facts) for facts in model.facts.values()] for name, model in self.models.items()})

        async def health() -> Response:
            """Whether the server answers."""
            return _json({"status": "ok", "version": __version__, "models": list(self.models)})

        async def metrics() -> Response:
            """Counters for Prometheus."""
            return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

        for path, handler in {"/models": models, "/health": health, "/metrics": metrics}.items():
            app.add_api_route(path, handler, methods=["GET"])
        for path, (file, media_type) in PAGE.items():
            content = resources.files("seqkit.serving").joinpath("page", file).read_text("utf-8")
            app.add_api_route(path, partial(_page, content, media_type), methods=["GET"], include_in_schema=False)


async def _page(content: str, media_type: str) -> Response:
    return Response(content, media_type=media_type)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = str(error.detail)
    if sentence == HTTPStatus(error.status_code).phrase:  # of Starlette, which says no more than the status
        path = request.url.path[:SHOWN]
        if error.status_code == HTTPStatus.NOT_FOUND:
            sentence = f"there is no path {path}; /openapi.json describes those that there are"
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = (error.headers or {}).get("Allow", "another method")
            sentence = f"{path} takes {allowed}, not {request.method[:SHOWN]}"
    return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the server failed; its log says why"}, 500)


def _json(content: Any) -> Response:
    return Response(json_bytes(content), media_type="application/json")
