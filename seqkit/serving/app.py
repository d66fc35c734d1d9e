"""The server's application: which path does what."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from importlib import resources
from typing import Any, TypeVar

from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from seqkit._version import __version__
from seqkit.errors import SeqkitError, name_hint
from seqkit.serving.batcher import Batcher, Overloaded
from seqkit.serving.guard import Guard
from seqkit.serving.limits import Limits
from seqkit.serving.metrics import ServerMetrics
from seqkit.serving.schemas import GenerateAnswer, GenerateRequest, PredictAnswer, PredictRequest, Problem, schema_of
from seqkit.serving.served_model import ServedModel
from seqkit.serving.streams import StreamConnections
from seqkit.serving.values import size_of
from seqkit.types import JSON

Body = TypeVar("Body", bound=BaseModel)

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
        self.batchers: dict[tuple[str, str], Batcher[Any, dict[str, JSON]]] = {}
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
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=self.hosts)
        app.add_exception_handler(HTTPException, _refuse)
        app.add_exception_handler(Exception, _fail)
        self._add_predictions(app)
        self._add_pages(app)
        app.add_api_websocket_route("/stream", self.stream)
        paths = frozenset({*PAGE, "/predict", "/generate", "/models", "/health", "/metrics", "/openapi.json"})
        return Guard(app, self.limits, self.metrics, paths)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Batches are computed while the server runs; at its end, what is being computed is finished."""
        workers = []
        for name, model in self.models.items():
            for task in model.facts:
                observe = self.metrics.batches.labels(name).observe
                batcher = Batcher(partial(model.predict, task), model.executor, self.limits, observe)
                self.batchers[name, task] = batcher
                workers.append(asyncio.create_task(batcher.run()))
        self.metrics.waiting.set_function(lambda: sum(batcher.waiting for batcher in self.batchers.values()))
        try:
            yield
        finally:
            for worker in workers:
                worker.cancel()
            for model in self.models.values():
                await asyncio.to_thread(model.close)

    # ---- predictions

    def _add_predictions(self, app: FastAPI) -> None:
        async def predict(request: Request) -> Response:
            """A prediction for each input. Inputs of several clients are computed together."""
            body = await _parse(request, PredictRequest)
            model, task = self.choose(body.model, body.task)
            size = self._check_size(body.inputs)
            records = await _waiting(self.batchers[model.name, task].submit(body.inputs, size))
            self.metrics.inputs.labels(model.name).inc(len(records))
            self.metrics.unusable.labels(model.name).inc(sum("error" in record for record in records))
            if body.top is not None:
                records = [_keep_top(record, body.top) for record in records]
            return _json({"model": model.name, "task": task, "results": records})

        async def generate(request: Request) -> Response:
            """Text that continues the prompt, or is written for it."""
            body = await _parse(request, GenerateRequest)
            model, task = self.choose(body.model, body.task, generates=True)
            if body.count * body.length > self.limits.generated:
                raise HTTPException(413, f"count times length may be at most {self.limits.generated:,}")
            options = body.model_dump(exclude={"model", "task", "prompt"})
            write = partial(model.model.generate, body.prompt, task=task, **options)
            loop = asyncio.get_running_loop()
            texts = await _waiting(loop.run_in_executor(model.executor, write))
            return _json({"model": model.name, "task": task, "texts": texts})

        for path, handler, body, answer in (
            ("/predict", predict, PredictRequest, PredictAnswer),
            ("/generate", generate, GenerateRequest, GenerateAnswer),
        ):
            schema = {
                "required": True,
                "content": {"application/json": {"schema": schema_of(body, self.models, self.limits)}},
            }
            app.add_api_route(
                path,
                handler,
                methods=["POST"],
                response_model=answer,
                responses=REFUSALS,
                openapi_extra={"requestBody": schema},
            )
            # That route describes the path. This one, which comes first, answers: it does not look for dependencies.
            app.router.routes.insert(0, Route(path, handler, methods=["POST"]))

    def _check_size(self, inputs: Sequence[Any]) -> int:
        """How large the inputs are.

        Raises:
            HTTPException: there are too many, or they are too large.
        """
        if len(inputs) > self.limits.items:
            raise HTTPException(413, f"there are {len(inputs):,} inputs; a request may have {self.limits.items:,}")
        size = sum(map(size_of, inputs))
        if size > self.limits.size:
            message = f"the inputs have {size:,} characters, words or numbers together"
            raise HTTPException(413, f"{message}; a request may have {self.limits.size:,}")
        return size

    def choose(self, name: str | None, task: str | None, *, generates: bool = False) -> tuple[ServedModel, str]:
        """The model and the task of these names, or the only ones.

        Raises:
            HTTPException: there is none of that name, or several and no name.
        """
        if name is None and len(self.models) > 1:
            raise HTTPException(400, f"there are several models; choose one with `model`: {', '.join(self.models)}")
        name = next(iter(self.models)) if name is None else name
        if name not in self.models:
            raise HTTPException(
                404, f"there is no model '{name}'; {name_hint(name, list(self.models), label='models')}"
            )
        facts = self.models[name].facts
        able = [key for key in facts if not generates or facts[key].generates]
        if task is None and len(able) > 1:
            raise HTTPException(400, f"the model has several tasks; choose one with `task`: {', '.join(able)}")
        if not able:
            raise HTTPException(400, f"the model '{name}' does not write text")
        task = able[0] if task is None else task
        if task not in facts:
            raise HTTPException(404, f"there is no task '{task}'; {name_hint(task, list(facts), label='its tasks')}")
        return self.models[name], task

    async def stream(self, socket: WebSocket) -> None:
        """A sequence that comes in pieces: see `StreamConnections.serve`."""
        try:
            model, task = self.choose(socket.query_params.get("model"), socket.query_params.get("task"))
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


async def _parse(request: Request, kind: type[Body]) -> Body:
    """The body of a request.

    Raises:
        HTTPException: it is not JSON of this form; the sentence says where.
    """
    try:
        return kind.model_validate_json(await request.body())
    except ClientDisconnect:
        raise HTTPException(400, "the connection was closed before the whole body had come") from None
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]
        ]
        raise HTTPException(400, "; ".join(problems)) from None


async def _waiting(answer: Any) -> Any:
    """An answer of a model, with seqkit's own errors and a full queue as refusals.

    Raises:
        HTTPException: see above.
    """
    try:
        return await answer
    except Overloaded:
        raise HTTPException(503, "too many requests wait; try again", {"retry-after": "1"}) from None
    except SeqkitError as error:
        raise HTTPException(400, str(error)) from None


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


def _keep_top(record: dict[str, JSON], count: int) -> dict[str, JSON]:
    probabilities = record.get("probabilities")
    if not isinstance(probabilities, Mapping):
        return record
    return {**record, "probabilities": dict(list(probabilities.items())[:count])}


def _json(content: JSON) -> Response:
    return Response(json.dumps(content, ensure_ascii=False, allow_nan=False), media_type="application/json")
