"""`POST /predict` and `POST /generate`: from the bytes of a body to the bytes of an answer.

A prediction of a small model takes less time than a web framework's routing and serialising, so these two paths are a
plain ASGI application, in front of FastAPI's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from seqkit.errors import SeqkitError, name_hint
from seqkit.serving.batcher import Batcher, Overloaded
from seqkit.serving.guard import Application, Receive, Scope, Send
from seqkit.serving.limits import Limits
from seqkit.serving.metrics import ServerMetrics
from seqkit.serving.schemas import GenerateRequest, PredictRequest
from seqkit.serving.served_model import ServedModel
from seqkit.serving.values import json_bytes, size_of

Body = TypeVar("Body", bound=BaseModel)


class Predictions:
    """What the models predict and write for the body of a request.

    Args:
        models: by name.
        limits: of requests.
        metrics: inputs are counted there.
    """

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits, metrics: ServerMetrics) -> None:
        self._models, self._limits, self._metrics = dict(models), limits, metrics
        self.batchers: dict[tuple[str, str], Batcher[Any, dict[str, Any]]] = {}

    def open_batchers(self) -> list[asyncio.Task[None]]:
        """Start a task for each task of each model, which computes what was asked until it is cancelled."""
        workers = []
        for name, model in self._models.items():
            for task in model.facts:
                observe = self._metrics.batches.labels(name).observe
                batcher = Batcher(partial(model.predict, task), model.executor, self._limits, observe)
                self.batchers[name, task] = batcher
                workers.append(asyncio.create_task(batcher.run()))
        self._metrics.waiting.set_function(lambda: sum(batcher.waiting for batcher in self.batchers.values()))
        return workers

    async def predict(self, body: bytes) -> bytes:
        """The answer to a `PredictRequest`. Inputs of several clients are computed together.

        Raises:
            HTTPException: the request cannot be answered.
        """
        asked = _parse(body, PredictRequest)
        model, task = self.choose(asked.model, asked.task)
        size = self._check_size(asked.inputs)
        records = await _waiting(self.batchers[model.name, task].submit(asked.inputs, size))
        self._metrics.inputs_of(model.name).inc(len(records))
        if unusable := sum("error" in record for record in records):
            self._metrics.unusable_of(model.name).inc(unusable)
        if asked.top is not None:
            records = [_keep_top(record, asked.top) for record in records]
        return json_bytes({"model": model.name, "task": task, "results": records})

    async def generate(self, body: bytes) -> bytes:
        """The answer to a `GenerateRequest`.

        Raises:
            HTTPException: the request cannot be answered.
        """
        asked = _parse(body, GenerateRequest)
        model, task = self.choose(asked.model, asked.task, generates=True)
        if asked.count * asked.length > self._limits.generated:
            raise HTTPException(413, f"count times length may be at most {self._limits.generated:,}")
        options = asked.model_dump(exclude={"model", "task", "prompt"})
        write = partial(model.model.generate, asked.prompt, task=task, **options)
        loop = asyncio.get_running_loop()
        texts = await _waiting(loop.run_in_executor(model.executor, write))
        return json_bytes({"model": model.name, "task": task, "texts": texts})

    def choose(self, name: str | None, task: str | None, *, generates: bool = False) -> tuple[ServedModel, str]:
        """The model and the task of these names, or the only ones.

        Raises:
            HTTPException: there is none of that name, or several and no name.
        """
        models = self._models
        if name is None and len(models) > 1:
            raise HTTPException(400, f"there are several models; choose one with `model`: {', '.join(models)}")
        name = next(iter(models)) if name is None else name
        if name not in models:
            raise HTTPException(404, f"there is no model '{name}'; {name_hint(name, list(models), label='models')}")
        facts = models[name].facts
        able = [key for key in facts if not generates or facts[key].generates]
        if task is None and len(able) > 1:
            raise HTTPException(400, f"the model has several tasks; choose one with `task`: {', '.join(able)}")
        if not able:
            raise HTTPException(400, f"the model '{name}' does not write text")
        task = able[0] if task is None else task
        if task not in facts:
            raise HTTPException(404, f"there is no task '{task}'; {name_hint(task, list(facts), label='its tasks')}")
        return models[name], task

    def _check_size(self, inputs: Sequence[Any]) -> int:
        """How large the inputs are.

        Raises:
            HTTPException: there are too many, or they are too large.
        """
        if len(inputs) > self._limits.items:
            raise HTTPException(413, f"there are {len(inputs):,} inputs; a request may have {self._limits.items:,}")
        size = sum(map(size_of, inputs))
        if size > self._limits.size:
            message = f"the inputs have {size:,} characters, words or numbers together"
            raise HTTPException(413, f"{message}; a request may have {self._limits.size:,}")
        return size


class DirectPosts:
    """ASGI: POST requests to some paths are answered by functions from bytes to JSON bytes, all else by `app`.

    Args:
        app: the application behind.
        answers: path -> the function. It raises HTTPException to refuse a request.
    """

    def __init__(self, app: Application, answers: Mapping[str, Callable[[bytes], Awaitable[bytes]]]) -> None:
        self._app, self._answers = app, answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or pass it on."""
        answer = self._answers.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if answer is None:
            await self._app(scope, receive, send)
            return
        status, headers = 200, [(b"content-type", b"application/json")]
        try:
            content = await answer(await _body(receive))
        except HTTPException as error:
            status, content = error.status_code, json_bytes({"error": str(error.detail)})
            headers += [(name.encode(), value.encode()) for name, value in (error.headers or {}).items()]
        headers.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})


async def _body(receive: Receive) -> bytes:
    """The whole body of a request.

    Raises:
        HTTPException: it does not come.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HTTPException(400, "the connection was closed before the whole body had come")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _parse(body: bytes, kind: type[Body]) -> Body:
    """The body of a request.

    Raises:
        HTTPException: it is not JSON of this form; the sentence says where.
    """
    try:
        return kind.model_validate_json(body)
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


def _keep_top(record: dict[str, Any], count: int) -> dict[str, Any]:
    probabilities = record.get("probabilities")
    if not isinstance(probabilities, Mapping):
        return record
    return {**record, "probabilities": dict(list(probabilities.items())[:count])}
