"""Which of several models is better, and whether that is more than chance: `seqkit compare`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from seqkit.errors import UsageError
from seqkit.inference.kept_predictions import KeptInputs, KeptPredictions
from seqkit.metrics import lower_is_better
from seqkit.reports.decomposition import TOLERANCE, Decomposed, decompose, decompose_mean, decompose_sums, labels_of
from seqkit.reports.resampling import (
    LEVEL,
    Array,
    Interval,
    PairedTest,
    Recomputed,
    Sample,
    SeedTest,
    Sums,
    bootstrap,
    holm,
    paired_test,
    resample,
    seed_test,
)
from seqkit.reports.run_facts import RunFacts
from seqkit.reports.sides import (
    Answers,
    Side,
    choose_scored,
    describe_sides,
    find_sides,
    load_answers,
    scores_in_common,
)
from seqkit.score_names import baseline_of, baselines
from seqkit.types import JSON, Prediction, ScoredExamples

if TYPE_CHECKING:
    from seqkit.runs.progress import Progress

FEW_UNITS: Final = 20
"""With fewer units, the tests have little to go by; units of a task that are fewer are not used unless asked for."""


@dataclass(frozen=True)
class SideScore:
    """A side's score.

    Attributes:
        mean: over its runs.
        values: of each run.
        interval: of the mean, by the bootstrap over units; None where the score was not tested.
    """

    mean: float
    values: Sequence[float]
    interval: Interval | None = None


@dataclass(frozen=True)
class Pair:
    """A side compared with the first one, by the score that decides.

    Attributes:
        side: the number of the side, from 1.
        test: over the units of the split.
        p: of the test, adjusted for the number of sides.
        seeds: over the runs; None if both sides have one.
        better: -1: the first side is better, 1: this one is, 0: no difference is shown.
        sentence: the answer in words.
        warnings: what to keep in mind.
    """

    side: int
    test: PairedTest
    p: float
    seeds: SeedTest | None
    better: int
    sentence: str
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Comparison:
    """Sides, their scores, and what is shown by them.

    Attributes:
        task, split, score: by which they are compared.
        lower: whether lower is better.
        sides: the first one is what the others are compared with.
        recipes: in which options each side differs, in words.
        differing: those options.
        unit: what is resampled, in words.
        units: how many there are.
        examples: of the split.
        scores: {score: of each side}.
        pairs: one for each side but the first.
        others: {score: the test of each pair}, of the scores that do not decide.
        notes: what else there is to say.
    """

    task: str
    split: str
    score: str
    lower: bool
    sides: Sequence[Side]
    recipes: Sequence[str]
    differing: Sequence[str]
    unit: str
    units: int
    examples: int
    scores: Mapping[str, Sequence[SideScore]]
    pairs: Sequence[Pair]
    others: Mapping[str, Sequence[PairedTest]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def facts(self) -> JSON:
        """As JSON."""
        sides = [
            {
                "name": side.name,
                "runs": [str(run.folder) for run in side.runs],
                "seeds": side.seeds,
                "recipe": {key: side.runs[0].options.get(key) for key in self.differing},
                "scores": {name: asdict(scores[number]) for name, scores in self.scores.items()},
            }
            for number, side in enumerate(self.sides)
        ]
        pairs = [
            {
                "first": self.sides[0].name,
                "second": self.sides[pair.side].name,
                **asdict(pair),
                "others": {name: asdict(tests[number]) for name, tests in self.others.items()},
            }
            for number, pair in enumerate(self.pairs)
        ]
        return {
            "task": self.task,
            "split": self.split,
            "score": self.score,
            "lower_is_better": self.lower,
            "unit": self.unit,
            "units": self.units,
            "examples": self.examples,
            "level": LEVEL,
            "sides": sides,
            "pairs": pairs,
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """The comparison for a human."""
        head = f"{self.task}/{self.split}/{self.score}{' (lower is better)' if self.lower else ''}"
        units = "" if self.unit == "examples" else f", {self.units:,} {self.unit}"
        lines = [f"{head}, {self.examples:,} examples{units}", ""]
        width = max(len(side.name) for side in self.sides)
        for number, side in enumerate(self.sides):
            score = self.scores[self.score][number]
            lines.append(f"  {side.name:<{width}}  {_score_and_spread(score)}  {self.recipes[number]}".rstrip())
        for pair in self.pairs:
            lines += ["", pair.sentence, *(f"  {warning}" for warning in pair.warnings)]
        if self.others:
            lines += ["", *self._other_lines()]
        return [*lines, *(["", *self.notes] if self.notes else [])]

    def _other_lines(self) -> list[str]:
        lines = ["other scores, each by itself: difference, 95 % interval, p"]
        names = max(len(name) for name in self.others)
        for name, tests in self.others.items():
            for pair, test in zip(self.pairs, tests, strict=True):
                which = f"  {self.sides[pair.side].name}" if len(self.pairs) > 1 else ""
                lines.append(f"  {name:<{names}}{which}  {describe_interval(test.difference)}  {describe_p(test.p)}")
        return lines


def _score_and_spread(score: SideScore) -> str:
    text = f"{score.mean:.4f}"
    if len(score.values) > 1:
        text += f" ± {np.std(score.values, ddof=1):.4f} over {len(score.values)} seeds"
    if score.interval is not None:
        text += f"  [{score.interval.low:.4f}, {score.interval.high:.4f}]"
    return text


def describe_interval(interval: Interval) -> str:
    """`+0.0123 [+0.0040, +0.0206]`"""
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def describe_p(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def compare(
    paths: Sequence[Path],
    *,
    task: str | None = None,
    split: str | None = None,
    score: str | None = None,
    unit: str | None = None,
    progress: Progress,
    tell: Callable[[str], None],
) -> Comparison:
    """Compare runs by their predictions for the same examples.

    Args:
        paths: run folders, or folders with runs; runs that differ in the seed alone are one side. The others are
            compared with the first.
        task: of joint models; None: the one that chooses the checkpoint.
        split: None: test, or dev where there is no test.
        score: that decides; None: the one that chooses the checkpoint.
        unit: what is resampled: "example", the unit that the task names, or a regular expression with one group, whose
            text in the ids is the same for all examples of a unit. None: as the task has it.
        progress: shows predictions that have to be made again.
        tell: gets a line about each run of which they have to be.

    Raises:
        DataError: the runs were not scored on the same examples, or have not finished.
        UsageError: there are fewer than two, or the arguments name what they do not have.
    """
    sides = find_sides(paths)
    task, split, score = choose_scored(sides, task, split, score)
    answers = load_answers(sides, task, split, progress=progress, tell=tell)
    groups, unit_name, notes = find_units(answers, unit)
    keys = scores_in_common(sides, task, split)
    samples = {name: samples_of(answers, name, key, groups, decides=name == score) for name, key in keys.items()}
    deciding = samples[score]
    if deciding is None:
        raise UsageError(f"the score {score} cannot be computed from predictions; choose another one with --score")
    drawn = _draw(samples)
    scores = {
        name: [
            SideScore(side.mean(key), side.values(key), interval)
            for side, interval in zip(sides, _intervals(samples[name], drawn.get(name), len(sides)), strict=True)
        ]
        for name, key in keys.items()
    }
    lower = _is_lower_better(sides[0], task, score)
    tests = _test_pairs(deciding, drawn[score])
    adjusted = holm([test.p for test in tests])
    keys_differing, recipes = describe_sides(sides)
    comparison = Comparison(
        task,
        split,
        score,
        lower,
        sides,
        recipes,
        keys_differing,
        unit_name,
        deciding[0].units,
        len(answers.ids),
        scores,
        [],
        {
            name: _test_pairs(tested, drawn[name])
            for name, tested in samples.items()
            if tested is not None and name != score
        },
        [*notes, *_baseline_notes(sides, keys, score), *_notes(sides, split, keys_differing, samples)],
    )
    pairs = [
        _judge(comparison, number, test, p) for number, (test, p) in enumerate(zip(tests, adjusted, strict=True), 1)
    ]
    return replace(comparison, pairs=pairs)


def _draw(samples: Mapping[str, Sequence[Sample] | None]) -> dict[str, list[Array]]:
    """{score: of each side, the scores on the same resamples}, of the scores that are tested."""
    drawn: dict[str, list[Array]] = {}
    for kind in (Sums, Recomputed):
        chosen = {
            name: tested for name, tested in samples.items() if tested is not None and isinstance(tested[0], kind)
        }
        columns = resample([sample for tested in chosen.values() for sample in tested]) if chosen else []
        for name, tested in chosen.items():
            drawn[name], columns = columns[: len(tested)], columns[len(tested) :]
    return drawn


def _intervals(
    samples: Sequence[Sample] | None, drawn: Sequence[Array] | None, count: int
) -> Sequence[Interval | None]:
    if samples is None or drawn is None:
        return [None] * count
    return [bootstrap(sample, drawn=column) for sample, column in zip(samples, drawn, strict=True)]


def _test_pairs(samples: Sequence[Sample], drawn: Sequence[Array]) -> list[PairedTest]:
    """The test of each side against the first."""
    pairs = zip(samples[1:], drawn[1:], strict=True)
    return [paired_test(samples[0], other, drawn=(drawn[0], column)) for other, column in pairs]


def _judge(comparison: Comparison, number: int, test: PairedTest, p: float) -> Pair:
    """What a test shows, in a sentence, with what weakens it."""
    first, second = comparison.sides[0], comparison.sides[number]
    values = [comparison.scores[comparison.score][index].values for index in (0, number)]
    seeds = seed_test(*values)
    difference = test.difference
    sign = (1 if difference.value > 0 else -1) * (-1 if comparison.lower else 1)
    better = sign if test.shows_difference(p) else 0
    if better:
        winner, loser = (second, first) if better > 0 else (first, second)
        # The amount is without a sign, and so is its interval: both ends are on the same side of 0.
        low, high = sorted((abs(difference.low), abs(difference.high)))
        amount = f"{abs(difference.value):.4f} {comparison.score}"
        numbers = f"95 % interval {low:.4f} to {high:.4f}, {describe_p(p)}"
        sentence = f"{winner.name} is better than {loser.name} by {amount} ({numbers})"
    else:
        numbers = f"95 % interval {difference.low:+.4f} to {difference.high:+.4f}, {describe_p(p)}"
        sentence = (
            f"no difference is shown between {first.name} and {second.name}: "
            f"{difference.value:+.4f} {comparison.score} ({numbers})"
        )
    return Pair(number, test, p, seeds, better, sentence, _warn(comparison, better, seeds, values))


def _warn(comparison: Comparison, better: int, seeds: SeedTest | None, values: Sequence[Sequence[float]]) -> list[str]:
    """What weakens the answer: seeds, of which another one might have given another answer, and few units."""
    warnings = []
    if seeds is None:
        if better and any(key != "seed" for key in comparison.differing):
            warnings.append(
                "this is about these two models; whether the recipes differ is not known: another seed may change more "
                "than the recipe. Train each with several seeds (--set seed=2, ...) and compare all runs"
            )
    else:
        interval = f"{seeds.difference.low:+.4f} to {seeds.difference.high:+.4f}, {describe_p(seeds.p)}"
        counts = f"{len(values[0])} and {len(values[1])} seeds"
        if seeds.p < LEVEL:
            warnings.append(f"the gain is larger than the noise of seeds ({counts}: 95 % interval {interval})")
        else:
            warnings.append(f"warning: the gain is within the noise of seeds ({counts}: 95 % interval {interval})")
    if comparison.units < FEW_UNITS:
        warnings.append(f"warning: {comparison.units} {comparison.unit} are few; the interval is rough")
    return warnings


def _baseline_notes(sides: Sequence[Side], keys: Mapping[str, str], score: str) -> list[str]:
    """What simple answers have of the score that decides, where all sides had the same."""
    known = {name: {side.mean(keys[f"{score}.{name}"]) for side in sides} for name in baselines(score, keys)}
    shown = [f"{name} {values.pop():.4f}" for name, values in known.items() if len(values) == 1]
    return [f"baselines of {score} on the same examples: {', '.join(shown)}"] if shown else []


def _notes(
    sides: Sequence[Side], split: str, differing: Sequence[str], samples: Mapping[str, Sequence[Sample] | None]
) -> list[str]:
    notes = []
    if set(differing) <= {"seed"}:
        notes.append("the recipes are the same; only the seeds differ")
    if split != "test":
        notes.append(f"{split} has chosen the checkpoints, so these scores are a little too good; test has not")
    if untested := [name for name, tested in samples.items() if tested is None and baseline_of(name) is None]:
        notes.append(f"not tested: {', '.join(untested)} (choose one with --score, if it is not the loss)")
    if len(sides) > 2:
        notes.append(f"p is adjusted for {len(sides) - 1} comparisons with {sides[0].name} (Holm)")
    return notes


def _is_lower_better(side: Side, task: str, score: str) -> bool:
    chosen = side.runs[0].chosen_by
    if chosen is not None and (chosen.task, chosen.name) == (task, score):
        return chosen.lower
    return lower_is_better(score)


def samples_of(
    answers: Answers, name: str, key: str, groups: NDArray[np.int64], *, decides: bool
) -> list[Sample] | None:
    """Each side's answers, ready to be resampled by a score; None for a score that cannot be, or not quickly."""
    values = [prediction.value for runs in answers.sides for kept in runs for prediction in kept.predictions]
    labels = sorted(labels_of(values)) if all(isinstance(value, str) for value in values) else ()
    decomposed = [
        [_decomposed(name, key, kept, facts, labels) for kept, facts in zip(runs, side_facts, strict=True)]
        for runs, side_facts in zip(answers.sides, answers.facts, strict=True)
    ]
    if all(item is not None for side in decomposed for item in side):
        return [Sums.of([item for item in side if item is not None], groups) for side in decomposed]
    return _by_metric(answers, name, key, groups) if decides else None


def _decomposed(
    name: str, key: str, kept: KeptPredictions, facts: RunFacts, labels: Sequence[str]
) -> Decomposed | None:
    """The score of a run, decomposed; None if that is not the score that the run has recorded."""
    recorded = facts.scores.get(key)
    made = (
        decompose_sums(kept.sums[name])
        if name in kept.sums
        else decompose(name, kept.predictions, kept.targets, labels)
    )
    if made is None or recorded is None:
        return None
    return made if abs(made.score - recorded) <= TOLERANCE * max(1.0, abs(recorded)) else None


def _by_metric(answers: Answers, name: str, key: str, groups: NDArray[np.int64]) -> list[Sample] | None:
    """Samples that ask the task's metric; None if there is none, or it needs more than is kept.

    If the score of all examples is the mean of the scores of each, as that of forecasts, the metric is asked once for
    each; else for each resample.
    """
    task = answers.built_task
    if task is None or task.metric is None:
        return None
    metric: Any = task.metric
    first = answers.sides[0][0]

    def score_of(predictions: Sequence[Prediction]) -> Callable[[NDArray[np.int64]], float]:
        def score(examples: NDArray[np.int64]) -> float:
            numbers = examples.tolist()
            chosen = [predictions[i] for i in numbers], [answers.targets[i] for i in numbers]
            ids, inputs = [answers.ids[i] for i in numbers], KeptInputs([first.inputs[i] for i in numbers])
            seen = [ScoredExamples(ids, inputs, answers.split)] if getattr(metric, "sees_examples", False) else []
            try:
                return float(metric(*chosen, *seen)[name])
            except ValueError:  # not defined for these examples
                return float("nan")

        return score

    metrics = [[score_of(kept.predictions) for kept in runs] for runs in answers.sides]
    try:
        decomposed = [
            [decompose_mean([score(np.array([i])) for i in range(len(groups))]) for score in side] for side in metrics
        ]
        is_mean = all(
            abs(made.score - facts.scores[key]) <= TOLERANCE * max(1.0, abs(facts.scores[key]))
            for side, of_side in zip(decomposed, answers.facts, strict=True)
            for made, facts in zip(side, of_side, strict=True)
        )
    except Exception:  # a plugin's metric, on predictions without what is not kept of them
        return None
    if is_mean:
        return [Sums.of(side, groups) for side in decomposed]
    members = [np.flatnonzero(groups == unit) for unit in range(int(groups.max()) + 1)]
    return [Recomputed(side, members) for side in metrics]


def find_units(answers: Answers, unit: str | None) -> tuple[NDArray[np.int64], str, list[str]]:
    """(n,) the number of each example's unit, what units are called, and what to say about them.

    Raises:
        UsageError: the expression is wrong, or matches no id.
    """
    count = len(answers.ids)
    alone = np.arange(count)
    task = answers.built_task
    named = None if task is None else task.unit
    name_in_plural = "examples"
    if unit in ("example", "examples") or (unit is None and named is None):
        return alone, name_in_plural, []
    if named is not None and unit in (None, named[0]):
        known = [named[1](id) for id in answers.ids]
        if not any(known):
            if unit is not None:
                raise UsageError(f"--unit {unit}: of none of the examples is it known, as of {answers.ids[0]!r}")
            return alone, name_in_plural, []
        keys = [key or id for key, id in zip(known, answers.ids, strict=True)]
        name_in_plural = named[0] if named[0].endswith("s") else f"{named[0]}s"
    else:
        assert unit is not None
        keys = _keys_by_pattern(unit, answers.ids, None if named is None else named[0])
        name_in_plural = "units"
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    groups = np.array([numbers[key] for key in keys])
    if unit is None and len(numbers) < FEW_UNITS:
        note = f"{len(numbers)} {name_in_plural} are too few to be resampled: the unit is the example, so the interval "
        note += f"holds for other examples of the same {name_in_plural}"
        return alone, "examples", [note]
    return groups, name_in_plural, []


def _keys_by_pattern(pattern: str, ids: Sequence[str], named: str | None) -> list[str]:
    known = "example" + (f", {named}" if named is not None else "")
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--unit {pattern}: is neither {known} nor a regular expression: {error}") from None
    if expression.groups != 1:
        raise UsageError(f"--unit {pattern}: is neither {known} nor a regular expression with one group, as '_(.*)_'")
    matches = [expression.search(id) for id in ids]
    missing = [id for id, match in zip(ids, matches, strict=True) if match is None]
    if missing:
        raise UsageError(f"--unit {pattern}: does not match the id {missing[0]!r} ({len(missing):,} of {len(ids):,})")
    return [match[1] or "" for match in matches if match is not None]
