"""The options of a recipe's `train:` and `init:` sections. The signature is the schema."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from seqkit.option_conditions import GIVEN, only_with
from seqkit.types import Choice, Count, NonNegative, Positive, Probability, Share, Size


@dataclass(frozen=True, slots=True)
class FromGroup:
    """Marks an option that is itself a choice `{use: NAME, ...}` among the factories of this group."""

    group: str


_ADAMW, _CONSTANT = Choice("adamw"), Choice("constant")


@only_with("average_from", average="uniform")
@only_with("average_wait", average="uniform", average_from="stall")
@only_with("teacher_weight", "teacher_temperature", teacher=GIVEN)
@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train.

    Args:
        epochs: passes over the training data.
        steps: optimiser steps; used instead of epochs if given.
        batch: examples per batch (lanes, for a task with a window).
        tokens: steps per batch, padding included; used instead of batch if given.
        pool: batches whose examples are sorted by length together. A larger pool leaves less padding, and makes batches
            less random; 1: batches are put together at random.
        vary_windows: of a task that is read in windows, the share of a window by which each boundary between two is
            moved at most, to other places in each epoch (after Merity et al. 2018, arXiv:1708.02182, whose windows have
            random lengths). The steps of a window change by up to twice that share.
        mix: of data in several files that are stored one by one, the examples of so many files are shuffled together,
            then those of as many others: for data of which not all fit on the disk. null: all are shuffled together.
        shapes: the largest number of lengths that batches are padded to. null: each batch to its longest example.
        optimizer: adamw, adam, sgd, or lazy_adamw for large vocabularies, with its options.
        schedule: constant, cosine, one_cycle, linear or plateau, with its options.
        clip: largest gradient norm; a longer gradient is scaled down to it. null: no clipping.
        embedding_dropout: share of the symbols whose vectors are zero in a training step, wherever they occur (Merity
            et al. 2018, arXiv:1708.02182).
        activation_penalty: added to the loss, times the mean square of the encoded steps (Merity et al. 2017,
            arXiv:1708.01009, with 2). Like the next one, it counts as often as the example's target is long, and is not
            in the loss that is logged.
        change_penalty: added to the loss, times the mean square of what one encoded step differs from the one before
            (temporal activation regularisation; the same paper, with 1).
        agreement: compute each batch twice with other dropout, and add the divergence of the two predictions to the
            loss, times this (R-drop; Wu et al. 2021, arXiv:2106.14448, with 1 to 5). Takes twice as long. null: once.
        mixup: mix each training example with another one, drawn at random for each epoch: what the head has of the two
            after pooling, and their labels, so much of the one as a draw from a Beta distribution with this for both
            parameters says (Zhang et al. 2018, arXiv:1710.09412, with 0.1 to 0.4; after the encoder, as in Verma et
            al. 2019, arXiv:1806.05236). For `classify`. Takes twice as long. null: none.
        teacher: a run folder or model folder, also that of an ensemble, of the same tasks, whose predictions are
            learned beside the true ones (distillation; Hinton, Vinyals and Dean 2015, arXiv:1503.02531).
        teacher_weight: share of the loss that is the divergence from the teacher; the rest is that from the truth.
        teacher_temperature: by which the scores of both are divided in that divergence; of classes alone, numbers have
            none.
        accumulate: batches per optimiser step.
        shards: into how many parts the rows of a step are dealt. With more than one, gradients are summed in a fixed
            order, so that runs of 1 to that many processes give the same weights, bit for bit. 1: no parts; several
            processes give the same weights up to rounding.
        average: decay of an exponential moving average of the weights, used for evaluation and for the model
            (Polyak and Juditsky 1992). uniform: their plain mean since `average_from`. null: the weights themselves.
        average_from: with `average: uniform`, where the mean begins. A number: after so many epochs (stochastic weight
            averaging; Izmailov et al. 2018, arXiv:1803.05407, here of every step). stall: when `average_wait`
            evaluations in a row were no better than the best one (NT-ASGD; Merity et al. 2018, arXiv:1708.02182, there
            with sgd).
        average_wait: evaluations, for `average_from: stall`.
        calibrate: divide the scores that probabilities are made of by a temperature, which is fitted on dev when all is
            trained and is kept in the model's weights (Guo et al. 2017, arXiv:1706.04599). Labels stay the same, and
            their probabilities come closer to how often they are right.
        patience: evaluations on dev without a better score before training stops early; an equal score with a lower
            loss is no better one. null: never.
        evaluate_every: optimiser steps between evaluations on dev. null: once an epoch.
        log_every: optimiser steps between logged numbers.
        save_every: optimiser steps between checkpoints. null: at every evaluation.
        choose_by: which tasks' scores on dev choose the checkpoint, where there are several: first, that of the first
            task in the recipe; mean, the mean of all tasks' scores; weighted, their mean by the tasks' `weight`. A
            score of which less is better counts as negative.
        keep: how many of the newest checkpoints stay, beside the best one.
        on_nan: what to do when a loss, a gradient or the weights are not finite, before that step is applied: stop,
            and name the examples and the module; skip, leave that step out; rollback, go back to the newest checkpoint
            and go on with the batch after the bad one.
        nan_limit: steps in a row that may be skipped, and rollbacks to one checkpoint, before the run stops.
        precision: auto (bf16 on a GPU that has it, else fp32), fp32, bf16 (fp32 on a processor that has none) or fp16
            autocast.
        tf32: let a GPU round the factors of products in single precision to ten bits (TF32), which is faster. fp32 is
            not fp32 then.
        cuda_graphs: on a GPU, launch forward and backward of batches that have no padding as one CUDA graph
            (docs/gpu.md). Off by default, because it has been seen on an emulated GPU only.
        memory: optimiser steps between measurements of how far back in time gradients reach, what gates hold, and how
            often gradients are clipped (docs/memory.md). null: none.
        histograms: write weight and gradient histograms to TensorBoard each epoch.
    """

    epochs: Count = 10
    steps: Count | None = None
    batch: Count = 32
    tokens: Count | None = None
    pool: Count = 64
    vary_windows: Annotated[float, Ge(0.0), Lt(0.5)] = 0.0
    mix: Count | None = None
    shapes: Count | None = None
    optimizer: Annotated[Choice, FromGroup("optimizers")] = _ADAMW
    schedule: Annotated[Choice, FromGroup("schedules")] = _CONSTANT
    clip: Positive | None = 1.0
    embedding_dropout: Share = 0.0
    activation_penalty: NonNegative = 0.0
    change_penalty: NonNegative = 0.0
    agreement: Positive | None = None
    mixup: Positive | None = None
    teacher: Path | None = None
    teacher_weight: Probability = 0.5
    teacher_temperature: Positive = 2.0
    accumulate: Count = 1
    shards: Count = 1
    average: Share | Literal["uniform"] | None = None
    average_from: Size | Literal["stall"] = 1
    average_wait: Count = 5
    calibrate: bool = False
    patience: Count | None = None
    evaluate_every: Count | None = None
    log_every: Count = 50
    save_every: Count | None = None
    choose_by: Literal["first", "mean", "weighted"] = "first"
    keep: Size = 1
    on_nan: Literal["stop", "skip", "rollback"] = "stop"
    nan_limit: Count = 10
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    tf32: bool = False
    cuda_graphs: bool = False
    memory: Count | None = 100
    histograms: bool = False


@dataclass(frozen=True, kw_only=True)
class InitSettings:
    """What a model begins with, in place of random weights: those of a model that was trained on something else.

    Args:
        model: the run folder, or model folder, of that model.
        parts: what is taken of it: input, the input layers, symbol by symbol; encoder, which must have the
            same options.
        freeze: epochs in which what was taken stays as it is.
        lr: what the learning rate of what was taken is multiplied by, from then on.
        layer_decay: what the learning rate of each layer that was taken is multiplied by once more for each layer above
            it; the input layer is the lowest (discriminative fine-tuning; Howard and Ruder 2018, P18-1031, with 0.38).
        thaw: after `freeze`, train one more of these layers in each epoch, beginning with the uppermost (gradual
            unfreezing; the same paper). false: all at once.
    """

    model: Path
    parts: tuple[Literal["input", "encoder"], ...] = ("input", "encoder")
    freeze: Size = 0
    lr: Positive = 1.0
    layer_decay: Annotated[float, Gt(0.0), Le(1.0)] = 1.0
    thaw: bool = False
