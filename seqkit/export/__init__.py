"""Trained models as files that run without seqkit: ONNX, or a program of `torch.export`. Needs the extra `export`."""

from __future__ import annotations

from seqkit.export.export_model import ExportResult, export_model

__all__ = ["ExportResult", "export_model"]
