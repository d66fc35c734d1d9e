"""What to write instead of words that people know from elsewhere, or from another part of a recipe."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

_LEARNING_RATE: Final = "the learning rate belongs to the optimizer: `train.optimizer: {use: adamw, lr: 0.001}`"
_PATIENCE: Final = "to stop early, set `train.patience` to the evaluations on dev without a better score"
_DEVICE: Final = "choose the device with `device: cuda` or `device: cpu` at the top of the recipe"
_PRECISION: Final = "choose it with `train.precision`: auto, fp32, bf16 or fp16"
_LAYERS: Final = "the number of layers of an encoder is `encoder.layers`"
_HIDDEN: Final = "the width of an encoder's state is `encoder.hidden`"
_EPOCHS: Final = "passes over the training data are `train.epochs`"
_STEPS: Final = "optimiser steps are `train.steps`"
_BATCH: Final = "examples per batch are `train.batch`"
_CLIP: Final = "the largest gradient norm is `train.clip`"
_DECAY: Final = "weight decay belongs to the optimizer: `train.optimizer: {use: adamw, weight_decay: 0.01}`"
_DIM: Final = "the width of the vectors that an encoder reads is `encoder.dim`"
_DEV: Final = "the data that choose the checkpoint are called dev; in tasks that read files, set `dev`"
_BALANCE: Final = "to weigh rare labels more in training, set `head: {use: classify, balanced: 1}` in the task"

OPTION_HINTS: Final[dict[str, str]] = {
    **dict.fromkeys(("lr", "learning_rate"), _LEARNING_RATE),
    **dict.fromkeys(("early_stopping", "early_stop", "earlystopping"), _PATIENCE),
    **dict.fromkeys(("gpu", "gpus", "cuda", "use_gpu", "no_cuda", "accelerator"), _DEVICE),
    **dict.fromkeys(("fp16", "bf16", "amp", "mixed_precision"), _PRECISION),
    **dict.fromkeys(("num_layers", "n_layers", "nlayers", "depth"), _LAYERS),
    **dict.fromkeys(("hidden_size", "hidden_dim", "n_hidden", "units"), _HIDDEN),
    **dict.fromkeys(("num_epochs", "max_epochs", "n_epochs", "num_train_epochs"), _EPOCHS),
    **dict.fromkeys(("max_steps", "num_steps", "iterations"), _STEPS),
    **dict.fromkeys(("batch_size", "train_batch_size"), _BATCH),
    **dict.fromkeys(("grad_clip", "gradient_clipping", "max_grad_norm", "clip_norm"), _CLIP),
    **dict.fromkeys(("weight_decay", "l2"), _DECAY),
    **dict.fromkeys(("embedding_dim", "embedding_size", "embed_dim", "emb_dim"), _DIM),
    **dict.fromkeys(("val", "valid", "validation", "eval"), _DEV),
    **dict.fromkeys(("class_weights", "class_weight", "pos_weight"), _BALANCE),
}
"""By an option that does not exist, what does the same here."""

_TASKS: Final[dict[str, str]] = {
    **dict.fromkeys(("classification", "text-classification", "classifier", "topic"), "sentiment"),
    **dict.fromkeys(("tagging", "pos", "chunking", "slots", "token-classification", "sequence-labeling"), "ner"),
    **dict.fromkeys(("lm", "language-model", "language_model", "language-modeling", "text-generation"), "charlm"),
    **dict.fromkeys(("asr", "audio", "speech-recognition", "audio-classification", "keyword-spotting"), "speech"),
    **dict.fromkeys(("mt", "seq2seq", "g2p", "transliteration", "summarization", "machine-translation"), "translation"),
    **dict.fromkeys(("dna", "rna", "sequence", "fasta"), "genome"),
}
_HEADS: Final[dict[str, str]] = {
    **dict.fromkeys(("classification", "classifier", "softmax"), "classify"),
    **dict.fromkeys(("tagging", "tagger", "sequence-labeling"), "tag"),
    **dict.fromkeys(("regression", "regressor"), "regress"),
    **dict.fromkeys(("attention", "seq2seq", "decoder"), "attend"),
    **dict.fromkeys(("lm", "language-model", "language_model"), "language"),
}
_NAMES: Final = {"tasks": _TASKS, "heads": _HEADS}


def option_hint(name: str) -> str:
    """What to write instead of an option that does not exist; empty if nothing is known."""
    return OPTION_HINTS.get(name.lower().replace("-", "_"), "")


def name_of_kind(group: str, name: str, available: Collection[str]) -> str:
    """Which name of a group does what another name says; empty if nothing is known."""
    instead = _NAMES.get(group, {}).get(name.lower().replace(" ", "-"))
    return f"that is `use: {instead}`" if instead in available else ""


def value_hint(value: Any, expected: Collection[str]) -> str:
    """What to write instead of a value of the wrong type; empty if nothing is known."""
    if isinstance(value, str) and value in ("None", "nil"):
        return f"YAML has null, not {value}"
    if isinstance(value, str) and value in ("True", "False", "TRUE", "FALSE") and "true or false" in expected:
        return f"write {value.lower()}"
    if isinstance(value, float) and value.is_integer() and "a whole number" in expected:
        return f"write {int(value)}"
    return ""
