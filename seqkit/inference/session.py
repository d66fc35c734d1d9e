"""The state of one session of a stream, and its form as bytes: checked, versioned, without pickle.

The bytes are a mark, the SHA-256 of the rest, and a safetensors file: tensors, and JSON beside them. They say to which
model and task they belong, and hold all that the next step depends on, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from
from safetensors.torch import save as tensors_to

from seqkit.errors import DataError, Problem
from seqkit.interfaces import State
from seqkit.types import JSON, Prediction

FORMAT_VERSION: Final = 1

_MARK: Final = b"seqkit-stream-state\n"
_DIGEST: Final = hashlib.sha256().digest_size
_PARTS: Final = ("layer", "encoder", "head", "waiting")
"""The parts of a session that are tensors; `Session` says what they are."""


@dataclass(frozen=True, slots=True)
class Session:
    """All that the next step of one sequence depends on. Immutable: a push makes a new one.

    Attributes:
        rows: input rows that were read.
        steps: encoded steps that are certain.
        kept: what the input field keeps.
        layer: what the input layer keeps.
        encoder: the recurrent state; None: at its beginning.
        head: what the head keeps.
        waiting: steps (n, D) that wait for later ones, and the backward output at the first step; for `look_ahead`.
        prediction: the last one; None: there is none yet.
        has_started: whether the start symbol of a language model was read.
        value: the input so far, text or a list, for a task whose predictions are finished with it; else None.
    """

    rows: int = 0
    steps: int = 0
    kept: JSON = None
    layer: State = ()
    encoder: State | None = None
    head: State = ()
    waiting: State = ()
    prediction: Prediction | None = None
    has_started: bool = False
    value: JSON = None


def to_bytes(session: Session, model: str) -> bytes:
    """The session of a model with this fingerprint as bytes."""
    tensors: dict[str, torch.Tensor] = {}
    for part in _PARTS:
        for number, tensor in enumerate(getattr(session, part) or ()):
            tensors[f"{part}.{number}"] = tensor.detach().cpu().contiguous().clone()
    prediction = session.prediction
    header = {
        "format_version": FORMAT_VERSION,
        "model": model,
        "rows": session.rows,
        "steps": session.steps,
        "kept": session.kept,
        "counts": {part: len(getattr(session, part) or ()) for part in _PARTS},
        "has_encoder": session.encoder is not None,
        "prediction": None if prediction is None else [prediction.value, prediction.confidence, prediction.scores],
        "has_started": session.has_started,
        "value": session.value,
    }
    content = tensors_to(tensors, {"session": json.dumps(header)})
    return _MARK + hashlib.sha256(content).digest() + content


def from_bytes(data: bytes, model: str, *, device: torch.device) -> Session:
    """The session that `to_bytes` wrote.

    Args:
        data: the bytes.
        model: the fingerprint of the model that is to go on.
        device: where its tensors are to be.

    Raises:
        DataError: the bytes are damaged, of another model or task, of a newer version, or no state at all.
    """
    header, tensors = _read(data)
    version = header.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise refusal(f"has format {version!r}, which is newer than this seqkit reads ({FORMAT_VERSION})", "upgrade")
    if header.get("model") != model:
        hint = "restore it with the model, the task and the look-ahead that it was taken from"
        raise refusal("belongs to another model", hint)
    try:
        counts = {part: int(header["counts"][part]) for part in _PARTS}
        parts = {
            part: tuple(tensors.pop(f"{part}.{number}").to(device) for number in range(count))
            for part, count in counts.items()
        }
        value = header["prediction"]
        session = Session(
            rows=_count(header["rows"]),
            steps=_count(header["steps"]),
            kept=header["kept"],
            layer=parts["layer"],
            encoder=parts["encoder"] if header["has_encoder"] is True else None,
            head=parts["head"],
            waiting=parts["waiting"],
            prediction=None if value is None else Prediction(*value),
            has_started=header["has_started"] is True,
            value=header["value"],
        )
        if tensors:
            raise ValueError(f"it has a tensor {next(iter(tensors))!r}, which is none of a session")
    except (KeyError, TypeError, ValueError) as error:
        raise refusal(f"cannot be read ({error})", "take it again") from None
    return session


def _read(data: bytes) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The header and the tensors. Raises DataError for bytes that are damaged or something else."""
    if not isinstance(data, bytes) or not data.startswith(_MARK):
        raise refusal("is not the state of a stream", "give the bytes that `state` returned")
    digest, content = data[len(_MARK) : len(_MARK) + _DIGEST], data[len(_MARK) + _DIGEST :]
    if hashlib.sha256(content).digest() != digest:
        raise refusal("is damaged: its SHA-256 is another", "take it again, and keep all of its bytes")
    try:
        size = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["session"])
        tensors = tensors_from(content)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise refusal(f"cannot be read ({error})", "take it again") from None
    if not isinstance(header, dict):
        raise refusal("cannot be read (it has no header)", "take it again")
    return header, tensors


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def refusal(what: str, hint: str) -> DataError:
    """An error that says what is wrong with a state, and what to do."""
    return DataError(Problem("the state of a session", what, hint))
