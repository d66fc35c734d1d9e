"""Pages of HTML that are whole in themselves: the report of runs, and a comparison. They load nothing, run no script.

Everything is escaped by the template engine; text of others is isolated in its direction of writing, and marks that
turn it are shown as escapes. The style follows the reader's choice of light or dark, and prints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from seqkit._version import __version__
from seqkit.errors import SeqkitError, UsageError, printable
from seqkit.io import atomic
from seqkit.reports.charts import interval_chart
from seqkit.reports.comparison import Comparison, compare, describe_interval, describe_p
from seqkit.reports.report import report_sections
from seqkit.reports.run_facts import find_runs

if TYPE_CHECKING:
    from seqkit.runs.progress import Progress


def report_page(paths: Sequence[Path], *, progress: Progress, tell: Callable[[str], None]) -> str:
    """The report of one or several runs as a page; of several that can be compared, with their comparison.

    Args:
        paths: run folders, or folders with run folders in them.
        progress: shows predictions that have to be made again.
        tell: gets a line about them.

    Raises:
        RunError: a folder cannot be read.
        UsageError: there is no run.
    """
    folders = list(dict.fromkeys(folder for path in paths for folder in find_runs(path)))
    if not folders:
        raise UsageError("there is no run in these folders")
    runs = [report_sections(folder, progress=progress, tell=tell) for folder in folders]
    comparison, problem = None, ""
    if len(folders) > 1:
        try:
            comparison = _comparison_parts(compare(folders, progress=progress, tell=tell))
        except SeqkitError as error:
            problem = str(error)
    title = f"Report of {runs[0]['name']}" if len(runs) == 1 else f"Report of {len(runs)} runs"
    return _render("report.html", title=title, runs=runs, comparison=comparison, comparison_problem=problem)


def comparison_page(comparison: Comparison) -> str:
    """A comparison as a page."""
    names = [side.name for side in comparison.sides]
    title = " and ".join(names) if len(names) == 2 else f"{len(names)} models"
    return _render("comparison.html", title=f"Comparison of {title}", comparison=_comparison_parts(comparison))


def write_page(path: Path, page: str) -> None:
    """Write a page to a file.

    Raises:
        RunError: the disk is full or read-only.
    """
    try:
        atomic.write(path, page.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise atomic.write_error(error, path.absolute().parent) from error


def _comparison_parts(comparison: Comparison) -> dict[str, Any]:
    """What the template shows of a comparison."""
    scores = comparison.scores[comparison.score]
    sides = list(zip(comparison.sides, scores, comparison.recipes, strict=True))
    lower = ", lower is better" if comparison.lower else ""
    units = "" if comparison.unit == "examples" else f" in {comparison.units:,} {comparison.unit}"
    about = f"{comparison.task}/{comparison.split}/{comparison.score}{lower}; {comparison.examples:,} examples{units}. "
    about += "Intervals of 95 %: paired bootstrap; p: approximate randomisation."
    return {
        "pairs": comparison.pairs,
        "first": comparison.sides[0].name,
        "about": about,
        "side_head": ["model", comparison.score, "95 % interval", "runs", "seeds", "each run", "differs in"],
        "side_rows": [
            [
                side.name,
                f"{score.mean:.4f}",
                "" if score.interval is None else f"{score.interval.low:.4f} to {score.interval.high:.4f}",
                len(side.runs),
                ", ".join(map(str, side.seeds)),
                ", ".join(f"{value:.4f}" for value in score.values),
                recipe,
            ]
            for side, score, recipe in sides
        ],
        "side_numbers": (1, 3),
        "chart": interval_chart([(side.name, score.interval) for side, score, _ in sides], x=comparison.score),
        "differences": interval_chart(
            [(comparison.sides[pair.side].name, pair.test.difference) for pair in comparison.pairs],
            x=f"difference of {comparison.score}",
            zero=True,
        ),
        "other_head": ["score", "model", "difference", "p"],
        "other_rows": [
            [name, comparison.sides[pair.side].name, describe_interval(test.difference), describe_p(test.p)]
            for name, tests in comparison.others.items()
            for pair, test in zip(comparison.pairs, tests, strict=True)
        ],
        "other_numbers": (),
        "recipe_head": ["option", *(side.name for side in comparison.sides)],
        "recipe_rows": [
            [key, *(side.runs[0].options.get(key, "-") for side in comparison.sides)] for key in comparison.differing
        ],
        "notes": comparison.notes,
    }


def _render(name: str, **values: Any) -> str:
    return _templates().get_template(name).render(version=__version__, **values)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("seqkit.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"isolated": _isolated, "printable": lambda text: printable(str(text))}
    return environment


def _isolated(value: Any) -> Markup:
    """Text that may be of others: escaped, and in a direction of writing of its own."""
    return Markup("<bdi>{}</bdi>").format(escape(printable(str(value))))
