"""What a report says of a run, as plain values that the page's template lays out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from seqkit.errors import RunError, SeqkitError
from seqkit.experiments.expectations import ExpectedRange
from seqkit.io import atomic
from seqkit.reports.charts import Line, line_chart, picture
from seqkit.reports.comparison import find_units, samples_of
from seqkit.reports.data_section import data_sections
from seqkit.reports.memory_section import memory_sections
from seqkit.reports.prediction_section import EMPTY_SECTION, prediction_section
from seqkit.reports.resampling import Interval, bootstrap
from seqkit.reports.run_facts import RunFacts, read_facts
from seqkit.reports.sides import Answers, load_predictions
from seqkit.runs.records import read_history, read_status
from seqkit.score_names import baseline_of, baselines, is_of_class, keys_in_order
from seqkit.types import JSON

if TYPE_CHECKING:
    from seqkit.inference.kept_predictions import KeptPredictions
    from seqkit.runs.progress import Progress

_SHOWN_PACKAGES: Final = ("numpy", "scikit-learn", "safetensors", "tensorboard")


def report_sections(folder: Path, *, progress: Progress, tell: Callable[[str], None]) -> dict[str, Any]:
    """Everything that the report of a run shows.

    What is missing (the data have moved, a plugin is gone, a file is damaged) is said in its place.

    Args:
        folder: the run folder, finished or not.
        progress: shows predictions that have to be made again.
        tell: gets a line about them.

    Raises:
        RunError: the folder cannot be read.
    """
    run = read_facts(folder)
    if run.state == "damaged":
        raise RunError(f"{folder}: {run.reason}")
    status = read_status(folder)
    history = read_history(folder)
    kept, problems = _predictions(run, progress, tell)
    unit, intervals = _intervals(run, kept)
    rows = _score_rows(run, _scores_so_far(run, history), intervals)
    parts = [prediction_section(run, of_split) for of_split in kept.values()]
    parts += [EMPTY_SECTION | {"name": name, "problem": problem} for name, problem in problems.items()]
    parts += [] if parts else _drawn_so_far(folder)
    return {
        "name": run.folder.resolve().name,
        "about": _about(run, status),
        "verdicts": list(_verdicts(run)),
        "warnings": [str(warning) for warning in status.get("warnings") or ()] + ([run.reason] if run.reason else []),
        "scores": rows,
        "intervals_note": _intervals_note(rows, unit),
        "curves": list(_curves(run, history)),
        "predictions": parts,
        "memory": memory_sections(folder),
        "data": data_sections(atomic.read_json(folder / "data.json")),
        "speed": _speed(run, status, history),
        "speed_charts": list(_speed_charts(history)),
        "given": _text(folder / "recipe.yaml"),
        "recipe": _text(folder / "resolved.yaml"),
        "environment": _environment(folder),
    }


def expected_of(run: RunFacts) -> dict[str, Mapping[str, float]]:
    """{score: what the recipe expects of it}."""
    expected: dict[str, dict[str, float]] = {}
    for key, value in run.options.items():
        section, _, rest = key.partition(".")
        score, _, word = rest.rpartition(".")
        if section == "expect" and score and isinstance(value, int | float):
            expected.setdefault(score, {})[word] = float(value)
    return {score: words for score, words in expected.items() if ExpectedRange.of(words) is not None}


def _about(run: RunFacts, status: Mapping[str, JSON]) -> str:
    tasks = ", ".join(name if name == use else f"{name} ({use})" for name, use in run.tasks)
    parameters = status.get("parameters")
    words = [
        f"{run.state}",
        f"tasks: {tasks}",
        f"encoder: {run.options.get('encoder.use')}",
        f"{parameters:,} parameters" if isinstance(parameters, int) else "",
        f"seed {run.options.get('seed')}",
        f"best checkpoint: step {run.best_step:,}" if run.best_step else "",
        f"started {run.started}" if run.started else "",
    ]
    return " · ".join(word for word in words if word)


def _verdicts(run: RunFacts) -> Iterator[dict[str, str]]:
    """A sentence for each promise of the recipe."""
    for key, words in expected_of(run).items():
        bound, score = ExpectedRange.of(words), run.scores.get(key)
        assert bound is not None
        if score is None:
            yield {"kind": "warn", "text": f"{key}: {bound} is promised; there is no such score yet"}
        else:
            is_met = bound.allows(score)
            text = f"{key} is {score:.4f}: the promise ({bound}) is {'met' if is_met else 'NOT met'}"
            yield {"kind": "good" if is_met else "bad", "text": text}


def _scores_so_far(run: RunFacts, history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The scores of the best evaluation of a run that has not finished."""
    if run.chosen_by is None:
        return {}
    best = [row for row in history if run.chosen_by.key() in row and row.get("step") == run.best_step]
    evaluated = {f"{task}/{split}/" for task, _ in run.tasks for split in ("dev", run.chosen_by.split)}
    return {key: value for row in best[-1:] for key, value in row.items() if key.startswith(tuple(evaluated))}


def _score_rows(run: RunFacts, so_far: Mapping[str, float], intervals: Mapping[str, Interval]) -> list[dict[str, str]]:
    scores: Mapping[str, float] = run.scores or so_far
    expected = expected_of(run)
    rows = []
    for key in _in_order(run, scores):
        value = scores[key]
        bound = ExpectedRange.of(expected.get(key, {}))
        interval = intervals.get(key)
        is_known = interval is not None and math.isfinite(interval.low)
        rows.append(
            {
                "key": key,
                "value": f"{value:.4f}",
                "interval": f"{interval.low:.4f} to {interval.high:.4f}" if interval and is_known else "",
                "promised": "" if bound is None else f"{bound}: {bound.judge(value)}",
                "kind": "" if bound is None else "good" if bound.allows(value) else "bad",
            }
        )
    return rows


def _intervals_note(rows: Sequence[Mapping[str, str]], unit: str) -> str:
    """What the intervals are; empty if there are none."""
    known = sum(bool(row["interval"]) for row in rows)
    if not known:
        return ""
    note = f"Intervals: bootstrap over {unit}. They say how much the score would vary on other data of this kind, not "
    note += "with another seed."
    note += " Windows of a series overlap, so that theirs are too narrow." if "windows" in unit else ""
    if known < len(rows):
        note += " Scores without an interval are no sums over examples, or depend on more than a run keeps."
    return note


def _in_order(run: RunFacts, keys: Iterable[str]) -> list[str]:
    """Scores as the table has them: those of single classes last, test before dev, the one that chooses first, and
    after each score its baselines.
    """
    chosen = {} if run.chosen_by is None else {run.chosen_by.task: run.chosen_by.name}
    ordered = keys_in_order(keys, chosen)
    parts = {key: [*key.split("/", 2), "", ""][:3] for key in ordered}
    first = chosen.popitem() if chosen else ("", "")

    def place(key: str) -> tuple[bool, bool, bool]:
        task, split, score = parts[key]
        return is_of_class(score), split != "test", (task, (baseline_of(score) or (score, ""))[0]) != first

    return sorted(ordered, key=place)


def _predictions(
    run: RunFacts, progress: Progress, tell: Callable[[str], None]
) -> tuple[dict[tuple[str, str], KeptPredictions], dict[str, str]]:
    """The predictions of each task and split of a finished run, and why there are none of others."""
    kept: dict[tuple[str, str], KeptPredictions] = {}
    problems: dict[str, str] = {}
    scored = dict.fromkeys((key.split("/")[0], key.split("/")[1]) for key in run.scores)
    for task, split in sorted(scored, key=lambda pair: (pair[0], pair[1] != "test")):
        try:
            kept[task, split] = load_predictions(run, task, split, progress=progress, tell=tell)
        except SeqkitError as error:
            problems[f"{task}, {split}"] = str(error)
    return kept, problems


def _drawn_so_far(folder: Path) -> list[dict[str, Any]]:
    """The last pictures on TensorBoard of what the model draws: of a run that has no predictions yet."""
    from seqkit.runs import event_files

    last: dict[str, tuple[int, bytes]] = {}
    for event in event_files.read(*event_files.paths(folder / "tb")):
        for value in event.summary.value:
            if value.tag.startswith("pictures/") and value.tag.endswith("/drawn"):
                last[value.tag] = event.step, value.image.encoded_image_string
    charts = [{"caption": f"drawn at step {step:,}", "svg": picture(png)} for step, png in last.values()]
    names = [tag.removeprefix("pictures/").removesuffix("/drawn").replace("/", ", ") for tag in last]
    return [EMPTY_SECTION | {"name": name, "charts": [chart]} for name, chart in zip(names, charts, strict=True)]


def _intervals(run: RunFacts, kept: Mapping[tuple[str, str], KeptPredictions]) -> tuple[str, dict[str, Interval]]:
    """What is resampled, and the interval of each score that is a function of sums."""
    intervals: dict[str, Interval] = {}
    units: list[str] = []
    for (task, split), of_split in kept.items():
        answers = Answers(task, split, of_split.ids, of_split.targets, of_split.steps, [[of_split]], [[run]])
        groups, unit, _ = find_units(answers, None)
        units.append(of_split.unit if unit == "examples" else unit)
        for key in run.scores:
            if key.startswith(f"{task}/{split}/"):
                samples = samples_of(answers, key.split("/", 2)[2], key, groups, decides=False)
                if samples is not None:
                    intervals[key] = bootstrap(samples[0])
    return ", ".join(dict.fromkeys(units)) or "examples", intervals


# Curves


def _curves(run: RunFacts, history: Sequence[Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    """Loss, the score that chooses, learning rate, gradient norm."""
    mark, note = run.best_step, "the best checkpoint"
    losses = _loss_names(history)
    for task, _ in run.tasks:
        lines = [_line(history, f"{task}/{split}/{losses.get(task, 'loss')}", split) for split in ("train", "dev")]
        chart = line_chart(lines, x="step", y=losses.get(task, "loss"), mark=mark, mark_note=note)
        yield {"caption": f"{task}: {losses.get(task, 'loss')}, train and dev", "svg": chart}
        dev = sorted({name for row in history for name in row if name.startswith(f"{task}/dev/")})
        for name in _in_order(run, dev):
            score = name.split("/", 2)[2]
            if score == losses.get(task, "loss") or is_of_class(score) or baseline_of(score) is not None:
                continue
            beside = [
                replace(_line(history, f"{name}.{base}", base), dashed=True, dots=False)
                for base in baselines(name, dev)
            ]
            chart = line_chart([_line(history, name, "dev"), *beside], x="step", y=score, mark=mark, mark_note=note)
            yield {"caption": f"{task}: {score} on dev", "svg": chart}
    for name, caption in {"lr": "learning rate", "grad/norm": "norm of the gradient, before clipping"}.items():
        chart = line_chart([_line(history, name, name)], x="step", y=caption.partition(",")[0])
        if chart:
            yield {"caption": caption, "svg": chart}


def _loss_names(history: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """{task: what its loss is called}: what is known of train is the loss."""
    names: dict[str, str] = {}
    for row in history:
        for name in row:
            task, _, rest = name.partition("/train/")
            if rest and task not in names:
                names[task] = rest
    return names


def _line(history: Sequence[Mapping[str, float]], name: str, label: str) -> Line:
    points = [(row["step"], row[name]) for row in history if isinstance(row.get(name), int | float)]
    return Line(label, [x for x, _ in points], [y for _, y in points], dots=len(points) <= 12)


def _speed_charts(history: Sequence[Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    chart = line_chart([_line(history, "time/tokens_per_s", "steps a second")], x="step", y="sequence steps a second")
    if chart:
        yield {"caption": "sequence steps a second", "svg": chart}


def _speed(run: RunFacts, status: Mapping[str, JSON], history: Sequence[Mapping[str, float]]) -> list[tuple[str, str]]:
    rates = [row["time/tokens_per_s"] for row in history if "time/tokens_per_s" in row]
    padding = [row["data/padding"] for row in history if "data/padding" in row]
    rows = [("minutes", f"{run.minutes:.1f}")] if run.minutes is not None else []
    cpu_minutes = status.get("cpu_minutes")
    rows += [("minutes of computing, all threads", f"{cpu_minutes:.1f}")] if isinstance(cpu_minutes, float) else []
    rows += [("optimiser steps", f"{run.step:,}")] if run.step is not None else []
    rows += [("sequence steps a second", f"{float(np.median(rates)):,.0f} (median)")] if rates else []
    rows += [("padding", f"{100 * float(np.mean(padding)):.1f} % of a batch")] if padding else []
    peak = status.get("peak_memory")
    rows += [("most memory", f"{peak / 2**20:,.0f} MiB")] if isinstance(peak, int) else []
    seconds = {
        name.removeprefix("time/"): float(sum(row[name] for row in history if isinstance(row.get(name), int | float)))
        for name in sorted({name for row in history for name in row})
        if name.startswith("time/") and name.endswith("_s") and name != "time/tokens_per_s"
    }
    return rows + [(name.removesuffix("_s"), f"{value:,.1f} s") for name, value in seconds.items()]


# Environment


def _environment(folder: Path) -> list[tuple[str, str]]:
    facts = atomic.read_json(folder / "environment.json")
    facts = facts if isinstance(facts, dict) else {}
    torch = facts.get("torch") if isinstance(facts.get("torch"), dict) else {}
    rows = [(key, str(facts[key])) for key in ("platform", "machine", "processor", "cores", "python") if key in facts]
    rows += [(f"torch {key}", _shown(value)) for key, value in (torch or {}).items()]
    packages = facts.get("packages")
    if isinstance(packages, dict):
        rows += [(name, str(packages[name])) for name in _SHOWN_PACKAGES if name in packages]
    git = atomic.read_json(folder / "git.json")
    if isinstance(git, dict):
        rows += [(f"git {key}", _shown(value)) for key, value in git.items()]
    plugins = atomic.read_json(folder / "plugins.json")
    for plugin in plugins if isinstance(plugins, list) else ():
        if isinstance(plugin, dict):
            text = f"{plugin.get('version')}, SHA-256 {str(plugin.get('sha256'))[:16]}"
            rows.append((f"plugins of {plugin.get('distribution')}", text))
    changes = atomic.read_json(folder / "changes.json")
    for change in changes if isinstance(changes, list) else ():
        for fact in change.get("changes", ()) if isinstance(change, dict) else ():
            text = f"{fact.get('subject')}: {fact.get('before')} → {fact.get('now')}"
            rows.append((f"changed at step {change.get('step')}", text))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
