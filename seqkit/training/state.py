"""The training state: everything that the next optimiser step depends on, with how it is saved and loaded.

A checkpoint holds the weights, the optimiser, the averaged weights, the loss sums since the last log, the carried
states, the gradient scaler, all random states and the counters. Everything else is computed again from the recipe: the
order of the data is a function of (seed, epoch), the learning rate one of the counters.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from seqkit.data.epoch import steps_per_epoch
from seqkit.data.task_data import TaskData
from seqkit.errors import RunError, shortened
from seqkit.gradient_flow.norms import GradientNorms
from seqkit.interfaces import Batch, State
from seqkit.io import atomic
from seqkit.kernels import by_example, draws
from seqkit.model import Model
from seqkit.optim.optimizers import build_optimizer
from seqkit.optim.schedules import SCHEDULES, Schedule
from seqkit.runs import board_series, checkpoint, state_tree
from seqkit.runtime import random_state
from seqkit.runtime.precision import Autocast, precision
from seqkit.runtime.ranks import ALONE, Ranks, deal
from seqkit.settings import InitSettings, TrainSettings
from seqkit.training.averaging import AveragedWeights
from seqkit.training.counters import TrainingCounters
from seqkit.training.gradient_tree import Shards
from seqkit.training.loss_sums import LossSums
from seqkit.training.objective import Objective, set_embedding_dropout
from seqkit.training.step_graphs import StepGraphs
from seqkit.training.transferred import TransferredWeights

if TYPE_CHECKING:
    from seqkit.runs.interrupts import Interrupts
    from seqkit.runs.run_folder import Run


@dataclass(frozen=True)
class PlanStart:
    """Where the batches began to be what they are now, if data or batches were changed within a run.

    Attributes:
        step: optimiser steps taken before.
        epoch: epochs finished before.
    """

    step: int
    epoch: int


@dataclass
class TrainingState:
    """What is trained, and how far training has come.

    Attributes:
        seed: the recipe's; what is drawn for an example depends on it.
        settings: the recipe's `train:` section.
        model: on the device that it is trained on.
        parameters: all of the model's, in order.
        optimizer: updates them; its moments are part of every checkpoint.
        scaler: scales the loss under fp16; under any other precision it does nothing.
        autocast: makes the context in which a forward pass runs in the chosen precision.
        base_lrs: learning rate of each parameter group of the optimiser, before the schedule.
        schedule: what the learning rate is multiplied by at a step.
        total_steps: optimiser steps of the whole training, unless patience ends it earlier.
        averaged_weights: the moving average of the weights; None where the recipe asks for none.
        ranks: the processes that train it together.
        shards: how the rows of a step are dealt to them.
        dense_gradients: the numbers of the parameters that had dense gradients in the last step of a task, by task.
        stop: listens to signals; None: nothing does.
        loss_sums: losses of each task since the last log.
        carried: for each task that is read in windows, the state that its next batch goes on from, (B, ...) each.
        norms: gradient norms since the last measurement of memory through time.
        transferred: weights that were taken from another model, and how they are trained.
        counters: steps, epochs, tokens, best score and whatever else is counted.
        objective: what is minimised beside the loss of a task.
        graphs: CUDA graphs of steps; None where none are asked for, or none are possible.
    """

    seed: int
    settings: TrainSettings
    model: Model
    parameters: Sequence[nn.Parameter]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    autocast: Autocast
    base_lrs: Sequence[float]
    schedule: Schedule
    total_steps: int
    averaged_weights: AveragedWeights | None
    loss_sums: LossSums
    norms: GradientNorms
    transferred: TransferredWeights = field(default_factory=TransferredWeights)
    ranks: Ranks = ALONE
    shards: Shards = field(default_factory=lambda: Shards.of(1, ALONE))
    dense_gradients: dict[str, list[int]] = field(default_factory=dict)
    stop: Interrupts | None = None
    carried: dict[str, State] = field(default_factory=dict)
    counters: TrainingCounters = field(default_factory=TrainingCounters)
    objective: Objective = field(default_factory=Objective)
    graphs: StepGraphs | None = None

    @classmethod
    def create(
        cls,
        model: Model,
        data: Mapping[str, TaskData],
        settings: TrainSettings,
        *,
        seed: int,
        init: InitSettings | None = None,
        plan_start: PlanStart | None = None,
        ranks: Ranks = ALONE,
        stop: Interrupts | None = None,
    ) -> Self:
        """The state before the first step. `seed` is the recipe's; nothing is drawn here.

        Args:
            model: on the device that it is trained on.
            data: the tasks by name.
            settings: the recipe's `train:` section.
            seed: the recipe's.
            init: the recipe's `init:` section.
            plan_start: where the epochs have begun to be as long as they are now; None: with the first step.
            ranks: the processes that train the model together.
            stop: listens to signals.

        Raises:
            UsageError: there are more processes than the recipe has shards.
            DataError: an option of `train` does not fit the model, or the teacher is of another task.
        """
        optimizer = build_optimizer(settings.optimizer, model)
        transferred = TransferredWeights.of(model, init)
        transferred.scale_rates(optimizer)
        start = plan_start or PlanStart(0, 0)
        epochs = settings.epochs - start.epoch
        total_steps = settings.steps or start.step + epochs * steps_per_epoch(data, settings, seed=seed)
        autocast, scaler = precision(settings.precision, model.device)
        set_embedding_dropout(model, settings.embedding_dropout)
        return cls(
            seed=seed,
            settings=settings,
            model=model,
            parameters=list(model.parameters()),
            optimizer=optimizer,
            scaler=scaler,
            autocast=autocast,
            base_lrs=[group["lr"] for group in optimizer.param_groups],
            schedule=SCHEDULES[settings.schedule.use](total_steps, **settings.schedule.options),
            total_steps=total_steps,
            averaged_weights=_averaged_weights(model, settings),
            ranks=ranks,
            shards=Shards.of(settings.shards, ranks),
            stop=stop,
            loss_sums=LossSums({name: model.head(name).loss_name for name in data}, model.device),
            norms=GradientNorms(settings.clip),
            transferred=transferred,
            objective=Objective.of(settings, model, data),
        )

    # ---- checkpoints

    def save(self, run: Run) -> None:
        """Write a checkpoint of this step, let `last` (and `best`, if it is) point to it, and delete old ones.

        Of several processes the first one writes; what it writes does not depend on their number.

        Raises:
            RunError: the disk is full, or the folder of checkpoints is gone.
        """
        carried = {task: self._all_rows(state) for task, state in self.carried.items()}
        self.check_equal()
        if not self.ranks.is_first:
            return
        if not run.checkpoints.is_dir():  # to create it again would hide that all earlier checkpoints are lost
            raise atomic.write_error(FileNotFoundError(errno.ENOENT, ""), run.checkpoints)
        optimizer_tensors, optimizer_state = state_tree.pack(self.optimizer.state_dict())
        random_tensors, generators = random_state.random_state()
        tensors: dict[str, Mapping[str, Tensor]] = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors,
            "random": random_tensors,
            "sums": self.loss_sums.tensors,
        }
        if self.averaged_weights:
            tensors["average"] = self.averaged_weights.weights
        if carried:
            tensors["carried"] = {
                f"{task}.{i}": tensor for task, state in carried.items() for i, tensor in enumerate(state)
            }
        numbers = {
            "progress": dataclasses.asdict(self.counters),
            "optimizer": optimizer_state,
            "random": generators,
            "draws": draws.SCHEME,
            "scaler": self.scaler.state_dict(),
            "norms": self.norms.state(),
            **({} if self.averaged_weights is None else {"averaged": self.averaged_weights.count}),
            **({} if self.objective.teacher is None else {"teacher": self.objective.teacher.digest}),
        }
        run.flush()
        path = checkpoint.save(run.checkpoints, self.counters.step, tensors, numbers)
        self._set_pointers(path)
        checkpoint.prune(run.checkpoints, self.settings.keep)

    def load(self, path: Path, *, changed: bool = False) -> bool:
        """Go on from a checkpoint: everything, the random states included, becomes what it was when that was saved.

        Returns:
            Whether its steps drew numbers, such as those of dropout, by the same rule as the next ones.

        Raises:
            Damaged: a file of it is not what its manifest says.
            TooNew: a later version of seqkit wrote it.
            RunError: it does not fit this model.

        Args:
            path: the checkpoint.
            changed: options or data are others than those that it was saved with, because that was accepted: the
                optimiser keeps its present options, and begins anew if it is one of another kind.
        """
        tensors, numbers = checkpoint.load(path)
        if self.objective.teacher is not None and not changed:
            self.objective.teacher.check_same(numbers.get("teacher"), path)
        device = self.model.device
        try:
            self.model.load_state_dict(tensors["model"])
            self._load_optimizer(state_tree.unpack(tensors["optimizer"], numbers["optimizer"]), changed=changed)
        except (RuntimeError, ValueError, KeyError) as error:  # torch's own words, a line for each parameter
            reason = " ".join(str(error).split())[:300]
            raise RunError(
                f"{path}: the checkpoint does not fit the model that the recipe describes: {reason}"
            ) from error
        except (TypeError, AttributeError, IndexError) as error:  # no checkpoint that a run wrote has such values
            raise _unusable(path, error) from error
        try:
            self._restore_rest(tensors, numbers, device)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise _unusable(path, error) from error
        self._set_pointers(path)  # the process that saved it may have been killed before it did that
        return bool(numbers.get("draws") == draws.SCHEME)

    def _restore_rest(
        self, tensors: Mapping[str, Mapping[str, Tensor]], numbers: Mapping[str, Any], device: torch.device
    ) -> None:
        """All but the weights and the optimiser."""
        self.scaler.load_state_dict(numbers["scaler"])
        self.norms.restore(numbers.get("norms", {}))
        if self.averaged_weights:  # an average that was not kept before begins with the weights
            average = tensors["average" if "average" in tensors else "model"]
            self.averaged_weights.weights = {name: tensor.to(device) for name, tensor in average.items()}
            self.averaged_weights.count = numbers.get("averaged")
        for name, tensor in tensors["sums"].items():
            if name in self.loss_sums.tensors:
                self.loss_sums.tensors[name].copy_(tensor)
        self.carried = _carried(tensors.get("carried", {}), device)
        random_state.restore_random_state(tensors["random"], numbers["random"])
        self.counters = TrainingCounters(**numbers["progress"])

    def _load_optimizer(self, saved: dict[str, Any], *, changed: bool) -> None:
        if not changed:
            self.optimizer.load_state_dict(saved)
            return
        options = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        names = [set(group) for group in options]
        if names == [set(group) - {"params"} for group in saved["param_groups"]]:
            self.optimizer.load_state_dict(saved)
            for group, present in zip(self.optimizer.param_groups, options, strict=True):
                group.update(present)

    def _set_pointers(self, path: Path) -> None:
        checkpoint.set_pointer(path.parent, "last", path)
        if self.counters.best_step == self.counters.step:
            checkpoint.set_pointer(path.parent, "best", path)

    def checkpoint_tensors(self) -> dict[str, Mapping[str, Tensor]]:
        """Tensors as large as those of a checkpoint: an optimiser keeps up to two numbers for each weight."""
        weights = self.model.state_dict()
        moments = {f"{kind}.{name}": tensor for kind in ("first", "second") for name, tensor in weights.items()}
        average = {"average": self.averaged_weights.weights} if self.averaged_weights else {}
        return {"model": weights, "optimizer": moments, **average}

    # ---- a step

    def set_learning_rate(self) -> float:
        """Set the optimiser's learning rates for the next step; returns that of the first parameter group."""
        lr_multiplier = self.schedule(self.counters.step, self.counters.to_minimise)
        for group, base_lr in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base_lr * lr_multiplier
        return self.base_lrs[0] * lr_multiplier

    @contextlib.contextmanager
    def forward_pass(self, batch: Batch, step: int | None = None) -> Iterator[None]:
        """The block is one forward pass of these examples: in the chosen precision, with their own random numbers.

        Args:
            batch: the examples.
            step: optimiser steps taken before; None: as many as are counted.
        """
        with self.autocast(), by_example(self.seed, self.counters.step if step is None else step, batch.numbers):
            yield

    def end_step(self, task: str, batches: Sequence[Batch], carried: State | None) -> None:
        """Count a step of these batches and average the weights. `carried`: what the task's next batch goes on from."""
        if carried is not None:
            self.carried[task] = carried
        self.counters.add_step(batches)
        if self.averaged_weights:
            if self._is_average_due:
                self.averaged_weights.begin()
            self.averaged_weights.update(self.counters.step)

    @property
    def _is_average_due(self) -> bool:
        """Whether the plain mean of the weights begins with the step that has just been counted."""
        first, counters = self.settings.average_from, self.counters
        return counters.waited >= self.settings.average_wait if first == "stall" else counters.epoch >= first

    def end_epoch(self) -> None:
        """The next step is the first of another epoch, in which no sequence goes on."""
        self.counters.epoch, self.counters.turn = self.counters.epoch + 1, 0
        self.carried.clear()

    def weights_to_evaluate(self) -> contextlib.AbstractContextManager[None]:
        """Within the block the model has the averaged weights, if there are any."""
        return self.averaged_weights.in_place() if self.averaged_weights else contextlib.nullcontext()

    def restart_epoch(self) -> None:
        """The present epoch begins again: its batches are not those that the counters count."""
        self.counters.turn = 0
        self.carried.clear()

    def check_equal(self) -> None:
        """Refuse to go on if the processes do not have the same weights, bit for bit.

        Raises:
            RunError: they do not.
        """
        if self.ranks.is_alone:
            return
        sums = [parameter.detach().contiguous().view(torch.uint8).sum() for parameter in self.parameters]
        of_ranks = self.ranks.gather(torch.stack(sums).cpu())
        unlike = [rank for rank, tensor in enumerate(of_ranks) if not tensor.equal(of_ranks[0])]
        if unlike:
            raise RunError(
                f"step {self.counters.step}: process {unlike[0]} has other weights than process 0: do all run the same "
                "versions of Python, torch, seqkit and the plugins, on the same kind of processor?"
            )

    def begin_together(self) -> None:
        """Before the first step of several processes: they have the same weights, and stop only together.

        Modules that draw from torch's generator, not by example, draw something else in each.

        Raises:
            RunError: they have different weights.
        """
        if self.ranks.is_alone:
            return
        if self.stop is not None:
            self.stop.share()
        self.check_equal()
        if self.ranks.rank:
            torch.manual_seed((self.seed * 1_000_003 + self.counters.step) * 1_000_003 + self.ranks.rank)

    def _all_rows(self, state: State) -> State:
        """A carried state with the rows of all processes, of which each knows its own."""
        if self.ranks.is_alone or not state:
            return state
        parts = deal(torch.ones(len(state[0])), self.shards.count)
        states = []
        for tensor in state:
            gathered = self.ranks.gather(tensor)
            for rank, of_rank in enumerate(gathered):
                rows = [row for shard in self.shards.range_of(rank) for row in parts[shard]]
                gathered[0][rows] = of_rank[rows]
            states.append(gathered[0])
        return tuple(states)

    # ---- what is due after a step, once the counters say so

    @property
    def is_last_step(self) -> bool:
        """Whether the steps, or the epochs, are used up."""
        counters, settings = self.counters, self.settings
        epochs_done = settings.steps is None and counters.epoch == settings.epochs and counters.turn == 0
        return counters.step == self.total_steps or epochs_done

    @property
    def is_out_of_patience(self) -> bool:
        """Whether too many evaluations in a row were no better than the best one."""
        return bool(self.settings.patience and self.counters.waited > self.settings.patience)

    @property
    def is_log_due(self) -> bool:
        return self._is_multiple(self.settings.log_every) or self.is_last_step

    @property
    def is_shown(self) -> bool:
        """Whether TensorBoard shows a log of this step: of very many, it shows fewer and fewer."""
        return self.is_last_step or board_series.is_shown(self.counters.step, self.settings.log_every)

    @property
    def is_validation_due(self) -> bool:
        """Every `evaluate_every` steps (without it: after each epoch), and after the last step."""
        epoch_ended, every = self.counters.turn == 0, self.settings.evaluate_every
        return self.is_last_step or (epoch_ended if every is None else self._is_multiple(every))

    @property
    def is_save_due(self) -> bool:
        """Every `save_every` steps, and after each evaluation."""
        return self.counters.evaluated == self.counters.step or self._is_multiple(self.settings.save_every)

    @property
    def is_anything_due(self) -> bool:
        """Whether something is logged, evaluated or saved after this step, the ends of epochs left aside."""
        settings = self.settings
        intervals = (settings.log_every, settings.evaluate_every, settings.save_every)
        return self.counters.step == self.total_steps or any(map(self._is_multiple, intervals))

    def _is_multiple(self, every: int | None) -> bool:
        return every is not None and self.counters.step % every == 0


def _averaged_weights(model: Model, settings: TrainSettings) -> AveragedWeights | None:
    """Those that the recipe asks for; a mean that begins with the first step has begun."""
    if not settings.average:
        return None
    is_mean = settings.average == "uniform"
    averaged = AveragedWeights(model, None if isinstance(settings.average, str) else settings.average)
    if is_mean and settings.average_from == 0:
        averaged.begin()
    return averaged


def load_best(run: Run, model: Model) -> int:
    """Load the best checkpoint's weights (their average, where one was kept) into the model; returns its step.

    Raises:
        RunError: there is no best checkpoint.
    """
    weights, step = checkpoint.read_best_weights(run.checkpoints)
    model.load_state_dict(weights)
    return step


def _unusable(path: Path, error: Exception) -> RunError:
    cause = shortened(f"{type(error).__name__}: {error}")
    message = f"holds what no run writes ({cause}); remove this folder to go on from the checkpoint before it"
    return RunError(f"{path}: {message}")


def _carried(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, State]:
    """`{"task.0": tensor, "task.1": tensor, ...}` as states by task."""
    numbered: dict[str, dict[int, Tensor]] = {}
    for key, tensor in tensors.items():
        task, _, number = key.rpartition(".")
        numbered.setdefault(task, {})[int(number)] = tensor.to(device)
    return {task: tuple(parts[i] for i in sorted(parts)) for task, parts in numbered.items()}
