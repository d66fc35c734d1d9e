"""The model of a recipe: one input layer and one head a task, one encoder for all; built, saved and loaded."""

from __future__ import annotations

from seqkit.model.model import Model, build_model
from seqkit.model.saved_model import field_states, load_model, make_ensemble, save_model

__all__ = ["Model", "build_model", "field_states", "load_model", "make_ensemble", "save_model"]
