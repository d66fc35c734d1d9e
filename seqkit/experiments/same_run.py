"""Whether a resumed run is the run that it was: what differs is told, refused by name, or accepted and recorded."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from seqkit.data.store import Identity
from seqkit.errors import ResumeRefused, RunError
from seqkit.heads.kernel_choices import kernel_choices
from seqkit.io import atomic
from seqkit.io.cache import cache_folder, sha256_of
from seqkit.model import Model
from seqkit.recipe import Recipe
from seqkit.recipe.writer import to_plain
from seqkit.runs import checkpoint, origin
from seqkit.runs.claim import PREPARING
from seqkit.runs.origin import Change, Record
from seqkit.runs.run_folder import Run
from seqkit.runtime.environment import environment, facts_that_differ
from seqkit.runtime.precision import choose_precision
from seqkit.training.state import PlanStart
from seqkit.types import JSON, Choice

LENGTH_KEYS = ("train.epochs", "train.steps", "train.patience")
"""What decides when training ends."""

CHANGEABLE = (
    *LENGTH_KEYS,
    *("train.log_every", "train.save_every", "train.evaluate_every", "train.keep", "train.histograms"),
    *("train.memory",),
    *("train.on_nan", "train.nan_limit", "expect"),
)
"""What `--set` may change in a run that has begun."""

NUMERIC_PACKAGES = (
    *("torch", "numpy", "scipy", "scikit-learn", "sentencepiece", "regex", "soundfile", "torchaudio"),
    *("sacrebleu", "biopython", "seqkit"),
)
"""Packages that compute something that a run depends on. On a GPU those of its maker do as well."""

NUMERIC_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE")

_SHOWN = 5
"""How many changed files of one task are named."""


@dataclass(frozen=True)
class Resumption:
    """How a run is resumed.

    Attributes:
        asked: `--set` flags: options that this run is to have from now on.
        accept_changes: go on although something that alters the numbers has changed.
    """

    asked: Sequence[str] = ()
    accept_changes: bool = False

    def asks_for(self, key: str) -> bool:
        """Whether one of the flags sets this option, or a section that it is in."""
        names = [flag.partition("=")[0] for flag in self.asked]
        return any(key == name or key.startswith(f"{name}.") for name in names)


@dataclass(frozen=True)
class Position:
    """How far a run has come, as its newest checkpoint says; before the first one, nowhere."""

    step: int = 0
    epoch: int = 0
    turn: int = 0
    waited: int = 0
    ended: bool = False

    @classmethod
    def of(cls, run: Run) -> Position:
        """The position of the newest checkpoint. It is not verified: that is done when it is loaded."""
        steps = checkpoint.steps(run.checkpoints)
        state = atomic.read_json(steps[-1] / "state.json") if steps else None
        progress = state.get("progress") if isinstance(state, dict) else None
        if not isinstance(progress, dict):
            return cls()
        return cls(**{name: progress[name] for name in cls.__dataclass_fields__ if name in progress})


@dataclass
class SameRunCheck:
    """Compares a run with what it recorded, once its data are known.

    Attributes:
        recipe: what is to be trained.
        run: where.
        device: on what.
        plugins: the record of the plugins that are installed now.
        tell: gets a sentence for each change that is not refused.
        resumption: None for a new run, which is only recorded.
        record: after the comparison, what the run is made of.
        changes: after it, what has changed, all of it asked for, accepted or without effect on the numbers.
        position: after it, how far the run has come.
        plan_start: after `finish`, where data or batches were last changed.
        data_changed: after `finish`, whether changed data were accepted now.
    """

    recipe: Recipe
    run: Run
    device: torch.device
    plugins: JSON
    tell: Callable[[str], object]
    resumption: Resumption | None
    record: Record = field(default_factory=dict)
    changes: Sequence[Change] = ()
    position: Position = field(default_factory=lambda: Position())
    plan_start: PlanStart | None = None
    data_changed: bool = False

    def __call__(self, identities: Mapping[str, Identity]) -> dict[str, tuple[JSON, JSON]]:
        """Compare, and return what the fields of each task have learned already. Nothing is written.

        Raises:
            ResumeRefused: something that alters the numbers has changed, and this was not accepted.
        """
        self.record = make_record(self.recipe, self.run, self.device, self.plugins, identities)
        if self.resumption is None:
            return {}
        self.position = Position.of(self.run)
        try:
            before = origin.latest_record(self.run.folder)
            fields = None if before is None and self._has_no_step else recorded_fields(self.run)
        except RunError as error:
            raise ResumeRefused(str(error)) from error
        self.changes = list(self._find_changes(before))
        self._refuse_wrong_length()
        self._refuse(is_without_fields=fields is None and self.position.step > 0)
        return {name: (states["input"], states["target"]) for name, states in (fields or {}).items()}

    def finish(self, fields: Mapping[str, JSON], model: Model) -> None:
        """Write down what has been accepted, and what the run begins with if that is not written yet.

        Args:
            fields: what the fields have learned, as fields.json has it.
            model: what is about to be trained.

        Raises:
            ResumeRefused: the weights of the run do not fit the model of an accepted recipe.
        """
        if self.resumption is not None:
            self._refuse_unfitting(model)
            if self.run.writes:
                self._accept()
            last = [entry for entry in origin.read_changes(self.run.folder) if entry.get("restarts_epoch")]
            if last:
                self.plan_start = PlanStart(last[-1]["step"], last[-1]["epoch"])
        if self.run.writes:
            origin.write_origin(self.run.folder, self.record, fields)

    def _find_changes(self, before: Record | None) -> Iterator[Change]:
        if before is None and self._has_no_step:
            return  # nothing depends on what it was
        if before is None:
            facts = atomic.read_json(self.run.folder / "data.json")
            earlier = facts if isinstance(facts, dict) else {}
            data = {name: {"files": task["files"]} for name, task in earlier.items() if task.get("files")}
            yield from data_changes(data, self.record["data"])
            yield from self._asked_of_earlier_version()
            return
        paths = path_options(self.recipe)
        options = list(recipe_changes(before["recipe"], self.record["recipe"], paths))
        then, now = (str(record.get("resolved_sha256")) for record in (before, self.record))
        if not options and then != now:
            note = "it was edited, but its options are the same"
            yield Change("recipe", "resolved.yaml", _hash(then), _hash(now), alters_numbers=False, note=note)
        yield from options
        yield from data_changes(before["data"], self.record["data"])
        yield from plugin_changes(before["plugins"], self.record["plugins"])
        yield from environment_changes(before, self.record)

    @property
    def _has_no_step(self) -> bool:
        """Whether the run has not come to its first step."""
        return self.run.opened_status.get("stage") == PREPARING

    def _asked_of_earlier_version(self) -> Iterator[Change]:
        """What is asked for, in a run that recorded no options."""
        assert self.resumption is not None
        for flag in self.resumption.asked:
            key, _, value = flag.partition("=")
            yield Change("recipe", key, "as it was", value, alters_numbers=key not in path_options(self.recipe))

    def _is_granted(self, change: Change) -> bool:
        """Whether it is an option that was asked for, and that a run may change."""
        assert self.resumption is not None
        return change.kind == "recipe" and is_changeable(change.subject) and self.resumption.asks_for(change.subject)

    def _refuse(self, *, is_without_fields: bool) -> None:
        assert self.resumption is not None
        refused = [change for change in self.changes if change.alters_numbers and not self._is_granted(change)]
        if refused and not self.resumption.accept_changes:
            lines = [f"  {self._describe(change)}" for change in refused]
            head = f"{self.run.folder} cannot go on as the same run; changed since it began:"
            advice = (
                "put it back as it was, or start a new run; "
                f"to go on all the same: seqkit run --resume {shlex.quote(str(self.run.folder))} --accept-changes"
            )
            raise ResumeRefused("\n".join([head, *lines, advice]))
        if is_without_fields and any(change.kind == "data" for change in refused):
            message = "it did not record its vocabularies, so other data would change what its weights mean"
            raise ResumeRefused(f"{self.run.folder} cannot go on with other data: {message}; start a new run")

    def _describe(self, change: Change) -> str:
        assert self.resumption is not None
        if change.kind != "recipe":
            return str(change)
        if not self.resumption.asks_for(change.subject):
            advice = f"; to ask for it: --set {change.subject}={change.now}" if is_changeable(change.subject) else ""
            return f"{change}, edited in resolved.yaml{advice}"
        return f"{change}: --set cannot change it in a run that has begun; it can change {', '.join(CHANGEABLE)}"

    def _refuse_unfitting(self, model: Model) -> None:
        """Refuse a recipe whose model has other weights than the run: they cannot be accepted."""
        if not any(change.alters_numbers and not self._is_granted(change) for change in self.changes):
            return
        saved = checkpoint.newest(self.run.checkpoints, repair=False)
        if saved is None:
            return
        old, new = checkpoint.shapes(saved, "model"), {k: tuple(v.shape) for k, v in model.state_dict().items()}
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                shapes = [str(shape) if shape is not None else "not there" for shape in (old.get(name), new.get(name))]
                message = f"the model has other weights: {name}: {shapes[0]} -> {shapes[1]}"
                raise ResumeRefused(f"{self.run.folder} cannot go on with this change, {message}; start a new run")

    def _refuse_wrong_length(self) -> None:
        """Refuse fewer steps or epochs than were made, and more of them where patience has ended the run."""
        assert self.resumption is not None
        position = self.position
        train, asked = self.recipe.train, self.resumption.asks_for
        made = f"the run has made {position.step:,} steps ({position.epoch} epochs) already"
        if asked("train.steps") and train.steps is not None and train.steps <= position.step:
            raise ResumeRefused(f"train.steps: {train.steps}: {made}; name more")
        if asked("train.epochs") and train.steps is None and train.epochs <= position.epoch:
            raise ResumeRefused(f"train.epochs: {train.epochs}: {made}; name more")
        if asked("train.epochs") and train.steps is not None:
            message = f"train.epochs: train.steps is {train.steps}, and counts instead"
            raise ResumeRefused(f"{message}; set train.steps, or train.steps=null as well")
        is_longer = asked("train.steps") or asked("train.epochs")
        if is_longer and position.ended and train.patience and position.waited > train.patience:
            message = f"training ended because {position.waited} evaluations in a row were no better"
            raise ResumeRefused(
                f"{message} (train.patience: {train.patience}); set train.patience higher as well, or to null"
            )

    def _accept(self) -> None:
        """Write down what has changed: in run.log all of it, in changes.json what was asked for or accepted."""
        run, changes, position = self.run, self.changes, self.position
        for change in changes:
            if not change.alters_numbers and not self._is_granted(change):
                self.tell(f"changed since the run began: {change}")
                if change.kind != "environment":  # those `Run.resume` has logged
                    run.log(f"changed since the run began: {change}")
        recorded = [change for change in changes if change.alters_numbers or self._is_granted(change)]
        assert self.resumption is not None
        is_new = origin.latest_record(run.folder) is None
        if self.resumption.asked and (is_new or any(change.kind == "recipe" for change in changes)):
            # Before changes.json: a process that is killed between the two can be started again by the same command.
            run.write_resolved(self.recipe.resolved())
            self.record["resolved_sha256"] = _resolved_hash(run)
        if recorded:
            accepted = [change for change in recorded if not self._is_granted(change)]
            restarts = any(change.kind != "environment" for change in accepted)
            for change in recorded:
                self._say(f"{'accepted' if change in accepted else 'asked for'}, from step {position.step}: {change}")
                if change.subject == "train.optimizer.use":
                    self._say("the optimiser begins anew if what it remembers does not fit")
            if restarts and position.turn:
                self._say(f"epoch {position.epoch + 1} begins again with its first batch")
            self.data_changed = any(change.kind == "data" for change in accepted)
            origin.add_change(
                run.folder,
                recorded,
                self.record,
                step=position.step,
                epoch=position.epoch,
                restarts_epoch=restarts,
            )

    def _say(self, sentence: str) -> None:
        self.run.log(sentence)
        self.tell(sentence)


def is_changeable(key: str) -> bool:
    """Whether `--set` may change this option in a run that has begun."""
    return any(key == name or key.startswith(f"{name}.") for name in CHANGEABLE)


def make_record(
    recipe: Recipe, run: Run, device: torch.device, plugins: JSON, identities: Mapping[str, Identity]
) -> Record:
    """Everything that the numbers of a run depend on, as JSON."""
    record = {
        "recipe": to_plain(recipe.sections),
        "resolved_sha256": _resolved_hash(run),
        "device": device.type,
        "precision": choose_precision(recipe.train.precision, device),
        "environment": environment(),
        "plugins": list(plugins),
        "data": {name: _data_record(recipe, name, identity) for name, identity in identities.items()},
    }
    if device.type == "cuda":
        choices = kernel_choices(device)
        record["environment"]["torch"]["kernels"] = {name: choice.name for name, choice in choices.items()}
    normal: Record = json.loads(json.dumps(atomic.json_safe(record)))
    return normal


def _resolved_hash(run: Run) -> str:
    return sha256_of(run.folder / "resolved.yaml")


def recorded_fields(run: Run) -> dict[str, dict[str, JSON]] | None:
    """What the fields of each task learned; of a run of an earlier version, if the cache still has it; else None."""
    fields = origin.read_fields(run.folder)
    if fields is not None:
        return fields
    facts = atomic.read_json(run.folder / "data.json")
    learned = {}
    for name, task in facts.items() if isinstance(facts, dict) else ():
        entry = atomic.read_json(cache_folder() / "store" / str(task.get("key")) / "MANIFEST.json")
        with contextlib.suppress(TypeError, ValueError, KeyError):
            manifest = json.loads(entry["manifest"])
            learned[name] = {"input": manifest["input"], "target": manifest["target"]}
    return learned if learned and isinstance(facts, dict) and learned.keys() == facts.keys() else None


# ---- what differs


def recipe_changes(before: Mapping[str, Any], now: Mapping[str, Any], paths: Mapping[str, Path]) -> Iterator[Change]:
    """Each option that has another value. Where a file or folder lies does not matter: its content is compared."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    for key in dict.fromkeys([*old, *new]):
        if key in old and key in new and old[key] == new[key]:
            continue
        then, present = (_show(leaves[key]) if key in leaves else "not given" for leaves in (old, new))
        moved = key in paths and old.get(key) is not None
        note = "its content is compared" if moved else "what it stands for is compared" if key == "device" else ""
        yield Change("recipe", key, then, present, alters_numbers=not note, note=note)


def data_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """Each file, and each split that is not made of files, with another content."""
    for name, task in before.items():
        present = now.get(name)
        if present is None:
            continue  # the recipe has no such task any more, which is told as a change of the recipe
        pairs = list(_file_changes(task.get("files", []), present.get("files", [])))
        for split, digest in task.get("examples", {}).items():
            other = present.get("examples", {}).get(split)
            if other != digest:
                pairs.append((f"{split}: the hash of its examples", digest, other))
        old, new = task.get("options", {}), present.get("options", {})
        pairs += [(key, old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)]
        for subject, old_hash, new_hash in pairs[:_SHOWN]:
            yield Change("data", f"data of {name}, {subject}", _hash(old_hash), _hash(new_hash), alters_numbers=True)
        if len(pairs) > _SHOWN:
            message = f"data of {name}: and {len(pairs) - _SHOWN:,} more"
            yield Change("data", message, "as recorded", "other content", alters_numbers=True)


def plugin_changes(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[Change]:
    """Each distribution that has another version or other code."""
    old, new = ({entry["distribution"]: entry for entry in entries} for entries in (before, now))
    for name in dict.fromkeys([*old, *new]):
        if name not in old or name not in new:
            continue  # it is used by other options of the recipe, which are told
        then, present = (f"{entries[name]['version']} ({_hash(entries[name]['sha256'])})" for entries in (old, new))
        if then != present:
            yield Change("plugin", f"code of {name}", then, present, alters_numbers=True)


def environment_changes(before: Record, now: Record) -> Iterator[Change]:
    """Device, precision, threads, versions and the rest of the environment, as far as they differ."""
    for key in ("device", "precision"):
        if before.get(key) != now[key]:
            yield Change("environment", key, str(before.get(key)), str(now[key]), alters_numbers=True)
    on_gpu = now["device"] != "cpu"
    for name, old, new in facts_that_differ(before["environment"], now["environment"]):
        yield Change("environment", name, str(old), str(new), alters_numbers=_alters_numbers(name, old, new, on_gpu))


def _alters_numbers(name: str, before: JSON, now: JSON, on_gpu: bool) -> bool:
    section, _, key = name.partition(".")
    if section == "torch":
        return key != "interop_threads" and (on_gpu or key not in ("gpus", "cudnn"))
    if section == "packages":
        return key in NUMERIC_PACKAGES or (on_gpu and key.startswith(("nvidia-", "triton")))
    if section == "variables":
        return key in NUMERIC_VARIABLES
    if section == "python":  # a minor version may know other characters, a patch does not
        return str(before).split(".")[:2] != str(now).split(".")[:2]
    return section in ("machine", "implementation")


def path_options(recipe: Recipe) -> dict[str, Path]:
    """The options that are files or folders, by their dotted names."""
    return {key: value for key, value in _leaves(recipe.sections) if isinstance(value, Path)}


def _data_record(recipe: Recipe, name: str, identity: Identity) -> JSON:
    """Hashes of what a task reads, and of the files that its options name beside that."""
    known = {entry["sha256"] for entry in identity.files}
    options = {}
    for key, path in path_options(recipe).items():
        if key.startswith(f"tasks.{name}.") and path.is_file() and (digest := sha256_of(path)) not in known:
            options[f"{key.removeprefix(f'tasks.{name}.')}: {path.name}"] = digest
    return {"files": identity.files, "examples": identity.examples, "options": options}


def _file_changes(before: Sequence[JSON], now: Sequence[JSON]) -> Iterator[tuple[str, str | None, str | None]]:
    if not any("/" in entry["name"] for entry in before):  # as runs recorded files of several folders at first
        now = [entry | {"name": entry["name"].rpartition("/")[2]} for entry in now]
    old, new = _numbered(before), _numbered(now)
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            split, name, number = key
            yield f"{split}: {name}" + (f" (number {number})" if number > 1 else ""), old.get(key), new.get(key)


def _numbered(files: Sequence[JSON]) -> dict[tuple[str, str, int], str]:
    """SHA-256 by split, name and the number of the file among those of this name."""
    count: Counter[tuple[str, str]] = Counter()
    numbered = {}
    for entry in files:
        key = entry["split"], entry["name"]
        count[key] += 1
        numbered[*key, count[key]] = entry["sha256"]
    return numbered


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each option with its dotted name."""
    if isinstance(value, Choice):
        value = {"use": value.use, **value.options}
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _hash(digest: str | None) -> str:
    """A hash, shortened; those of examples have 32 digits, those of files 64."""
    if not digest:
        return "not there"
    return f"sha256 {digest[:12]}" if len(digest) == 64 else digest[:12]


def _show(value: JSON) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
