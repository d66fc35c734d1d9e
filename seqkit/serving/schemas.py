"""The bodies of requests and answers, from which the OpenAPI page is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from seqkit.serving.limits import Limits
from seqkit.serving.served_model import ServedModel, TaskFacts


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class UploadedFile(_Strict):
    """A file of a kind that the task trains from, a recording for example."""

    file: str = Field(description="Its name; the ending says how it is read.", examples=["word.wav"])
    content: str = Field(description="Its bytes in base64.")


class Record(BaseModel):
    """What is predicted for an input, or why it cannot be used."""

    prediction: Any = Field(None, description="The prediction, of the kind of the training data's targets.")
    confidence: float | list[float] | None = Field(None, description="The model's probability of it.")
    probabilities: dict[str, float] | None = Field(None, description="Of each label, the most probable one first.")
    spans: list[dict[str, Any]] | None = Field(None, description="Spans, with the characters that they are.")
    scores: Any = Field(None, description="What the model gives beside: quantiles of a forecast, other texts.")
    error: str | None = Field(None, description="Why this input cannot be used; the others are not affected.")


class PredictAnswer(BaseModel):
    """Which model answers, and a record for each input, in their order."""

    model: str
    task: str
    results: list[Record]


class GenerateAnswer(BaseModel):
    """Which model answers, and its texts."""

    model: str
    task: str
    texts: list[str]


class Problem(BaseModel):
    """Why a request is refused."""

    error: str


class _Chosen(_Strict):
    model: str | None = Field(None, description="Which model; needed if there are several.")
    task: str | None = Field(None, description="Which task of it; needed if it has several.")


class PredictRequest(_Chosen):
    """What to predict for."""

    inputs: list[Any] = Field(min_length=1)
    top: int | None = Field(None, ge=1, description="Most labels in `probabilities`, the best ones first.")


class GenerateRequest(_Chosen):
    """What to write."""

    prompt: str = Field("", description="The beginning of the text, or what it is written for.")
    count: int = Field(1, ge=1, le=100, description="How many texts.")
    length: int = Field(200, ge=1, description="Most symbols of a text.")
    temperature: float = Field(0.8, ge=0, le=100, description="0: always the most likely symbol.")
    top_k: int | None = Field(None, ge=1, le=1_000_000)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**63)


def schema_of(kind: type[BaseModel], models: Mapping[str, ServedModel], limits: Limits) -> dict[str, Any]:
    """JSON Schema of a request to these models: their names, their tasks, what these read, and the limits."""
    schema = kind.model_json_schema()
    properties = schema["properties"]
    facts = [facts for model in models.values() for facts in model.facts.values()]
    for name, values in (("model", models), ("task", {fact.name for fact in facts})):
        properties[name] |= {"enum": [*sorted(values), None]}
    if "inputs" in properties:
        properties["inputs"] |= {"items": {"anyOf": _kinds_of_input(facts)}, "maxItems": limits.items}
    if "length" in properties:
        properties["length"] |= {"maximum": limits.generated}
    return schema


def _kinds_of_input(tasks: Sequence[TaskFacts]) -> list[dict[str, Any]]:
    """What the tasks read, each kind once."""
    kinds: list[dict[str, Any]] = []
    for facts in tasks:
        kinds.append(dict(facts.schema))
        if facts.unit == "words" and facts.reads_text:
            kinds.append({"type": "array", "items": {"type": "string"}, "description": "Words, split already."})
        if facts.reads_rows:
            kinds.append({"type": "object", "description": "A row of a table: the columns that the recipe names."})
        if facts.files:
            kinds.append(UploadedFile.model_json_schema())
    return [kind for number, kind in enumerate(kinds) if kind not in kinds[:number]]
