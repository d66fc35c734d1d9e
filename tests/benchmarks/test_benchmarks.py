"""The benchmarks' own machinery: comparing, interleaving, and the page that is made of the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import driver, page, profile
from benchmarks.__main__ import main
from benchmarks.frame import GROUPS, Case, Contender, Group, Limit, Prepared, Target, load_group
from benchmarks.groups.training import RECIPES
from tests.helpers.data import needs_data


class Scripted(driver.Process):
    """A contender without a process: it takes the seconds that it is told to."""

    order: list[str] = []  # noqa: RUF012

    def __init__(self, name: str, seconds: float, outputs: dict[str, Any] | None) -> None:
        self.contender = Contender(name, "nowhere:nothing")
        self.seconds, self.outputs = seconds, outputs

    def ask(self, **request: Any) -> dict[str, Any]:
        if request["do"] == "prepare":
            return {"notes": {"tokens": 60, "padded": 100}}
        if request["do"] == "compute":
            if self.outputs is not None:
                np.savez(request["path"], **self.outputs)
            return {"saved": self.outputs is not None}
        self.order.append(self.contender.name)
        return {"seconds": self.seconds, "peak_mib": 10.0}


def group(**more: Any) -> Group:
    return Group("made", "About.", [Case("one", {"size": 1})], [Contender("ours", "nowhere:nothing")], **more)


def test_rounds_alternate_in_order_and_ratios_are_of_the_contender_to_ours() -> None:
    Scripted.order.clear()
    outputs = {"x": np.ones(3)}
    ours, other = Scripted("ours", 2.0, outputs), Scripted("other", 3.0, {"x": np.ones(3) + 1e-6})
    report = driver.run_case(group(), Case("one", {}), [ours, other], rounds=3)
    assert Scripted.order == ["ours", "other", "ours", "other", "other", "ours", "ours", "other"]
    assert report["results"]["other"]["ratio"] == [1.5, 1.5, 1.5]
    assert report["results"]["other"]["apart"] == pytest.approx(1e-6, rel=0.01)
    assert report["notes"] == {"tokens": 60, "padded": 100}


@pytest.mark.parametrize(
    "outputs", [{"x": np.ones(3) * 1.1}, {"x": np.ones(4)}, {"y": np.ones(3)}, {"x": np.full(3, np.nan)}]
)
def test_a_contender_that_computes_something_else_is_not_timed(outputs: dict[str, Any]) -> None:
    Scripted.order.clear()
    processes = [Scripted("ours", 2.0, {"x": np.ones(3)}), Scripted("other", 1.0, outputs)]
    report = driver.run_case(group(), Case("one", {}), processes, rounds=2)
    assert "computes something else" in report["results"]["other"]["failed"]
    assert "other" not in Scripted.order


def test_a_contender_whose_modules_are_missing_is_named_and_counts_neither_way() -> None:
    contenders = [Contender("rival", "nowhere:nothing", needs=("no_such_module_at_all",))]
    lines: list[str] = []
    made_group = Group("made", "About.", [], contenders, [Target("speed", "", "rival", 2, 4)])
    report = driver.run_group(made_group, quick=True, threads=1, pythons=driver.default_pythons(), say=lines.append)
    assert report["missing"] == {"rival": "no_such_module_at_all not installed"}
    assert "rival is left out" in lines[0]
    machine = {
        "command": "c",
        "made": "d",
        "processor": "p",
        "cores": 2,
        "threads": 1,
        "memory_gib": 1,
        "python": "3",
        "packages": {},
    }
    text = page.page({"groups": {"made": {"machine": machine, "quick": True, **report}}})
    assert "| speed | rival | 2 | 4 | – | no_such_module_at_all not installed |" in text


def test_the_page_tells_losses_as_it_tells_wins() -> None:
    results = {
        "ours": {"median": 2e-3, "seconds": [2e-3], "ratio": [1, 1, 1], "peak_mib": 5.0},
        "slow": {"median": 6e-3, "ratio": [3.0, 2.5, 3.5]},
        "fast": {"median": 1e-3, "ratio": [0.5, 0.4, 0.6]},
        "broken": {"failed": "computes something else"},
    }
    machine = {
        "command": "c",
        "made": "d",
        "processor": "p",
        "cores": 2,
        "threads": 1,
        "memory_gib": 1,
        "python": "3",
        "packages": {},
    }
    report = {
        "name": "made",
        "about": "About.",
        "ours": "ours",
        "yardsticks": [],
        "missing": {},
        "derived": {"slope": 1},
        "limits": [vars(Limit("growth", "slope", limit, aim)) for limit, aim in ((1.05, 1.02), (0.9, 0.8))],
        "machine": machine,
        "quick": False,
        "targets": [vars(Target("speed", "", contender, 2, 4)) for contender in ("slow", "fast")],
        "cases": [{"name": "one", "options": {}, "notes": {"tokens": 60, "padded": 100}, "results": results}],
    }
    text = page.page({"groups": {"made": report}})
    assert "| speed | slow | 2 | 4 | 3.00 | met |" in text
    assert "| speed | fast | 2 | 4 | 0.50 | **missed** |" in text
    assert "| growth | itself | at most 1.05 | 1.02 | 1 | aim met |" in text
    assert "| growth | itself | at most 0.9 | 0.8 | 1 | **missed** |" in text
    assert "| one | 60 | 40% | 2 ms, 30,000 tokens/s |" in text
    assert "6 ms, **3.00** (2.50–3.50)" in text
    assert "computes something else" in text
    assert "- slope: 1" in text


@needs_data
@pytest.mark.parametrize("case", ["tagging", "tiny"])
def test_a_profile_accounts_for_a_step(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part takes time, and the parts are told beside the products that they cannot do without."""
    monkeypatch.setattr("benchmarks.profile.ROUNDS", 1)
    monkeypatch.setattr("benchmarks.profile.RECIPES", RECIPES)
    monkeypatch.setitem(RECIPES, case, RECIPES[case].replace("epochs: 1", "steps: 4").replace("steps: 500", "steps: 4"))
    figures = profile.profile(case)
    assert figures["steps"] == 4
    assert all(seconds > 0 for seconds in figures["parts"].values())
    assert 0 < figures["bound"] < sum(figures["parts"].values())
    assert profile.lines({case: figures})[0] == f"| part of a step, ms | {case} |"


def test_contenders_without_comparison_are_named() -> None:
    results = {"ours": {}, "bound": {}, "held": {"apart": 0.0}, "now and then": {}, "free": {}}
    cases = [{"results": results}, {"results": {"ours": {}, "now and then": {"apart": 1e-7}}}]
    assert page.uncompared({"ours": "ours", "yardsticks": ["bound"], "cases": cases}) == ["free"]


def test_the_page_says_what_the_figures_say() -> None:
    assert page.main(["--check"]) == 0


def test_an_unknown_group_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["kernel"])
    assert left.value.code == 2
    assert "there is no group kernel" in capsys.readouterr().err


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_can_be_loaded_and_has_something_quick(name: str) -> None:
    group = load_group(name)
    assert group.name == name
    assert any(case.quick for case in group.cases)
    names = [case.name for case in group.cases]
    assert len(set(names)) == len(names)
    for contender in group.contenders:
        assert set(contender.only) <= set(names)
        assert callable(contender.load())
    for target in group.targets:
        assert target.against in {contender.name for contender in group.contenders}
        assert any(case_name.startswith(target.cases) for case_name in names)
        assert target.aim >= target.ratio


@pytest.mark.slow
def test_a_group_runs_in_processes_of_its_own(tmp_path: Path) -> None:
    """One real round: start-up is the cheapest."""
    assert main(["startup", "--quick", "--case", "help", "--threads", "1", "--json", str(tmp_path / "found.json")]) == 0
    report = json.loads((tmp_path / "found.json").read_text())["groups"]["startup"]
    assert report["cases"][0]["results"]["seqkit"]["median"] > 0
    assert len(report["cases"][0]["results"]["torch"]["seconds"]) == driver.QUICK_ROUNDS


def test_prepared_needs_no_outputs() -> None:
    assert Prepared(lambda: None).outputs is None


def test_gigabytes_are_only_written_where_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def run_group(group: Group, **rest: Any) -> dict[str, Any]:
        measured.extend(case.name for case in group.cases)
        return {"cases": [{"name": case.name} for case in group.cases]}

    monkeypatch.setattr("benchmarks.__main__.run_group", run_group)
    assert main(["growth"]) == 0
    assert measured
    assert not any(name.startswith("corpus") for name in measured)
    measured.clear()
    assert main(["growth", "--case", "corpus lines"]) == 0
    assert measured == ["corpus lines 40 MB", "corpus lines 400 MB", "corpus lines 4 GB"]
    assert not any(case.quick and case.on_request for name in GROUPS for case in load_group(name).cases)


def test_a_case_measured_again_takes_its_place_among_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    report, names = tmp_path / "found.json", [case.name for case in load_group("streaming").cases]

    rounds = iter(range(2))

    def run_group(group: Group, **rest: Any) -> dict[str, Any]:
        number = next(rounds)
        return {"cases": [{"name": case.name, "round": number} for case in group.cases]}

    monkeypatch.setattr("benchmarks.__main__.run_group", run_group)
    for more in ([], ["--case", names[0]]):
        assert main(["streaming", "--json", str(report), *more]) == 0
    cases = json.loads(report.read_text())["groups"]["streaming"]["cases"]
    assert [(case["name"], case["round"]) for case in cases] == [(names[0], 1), *((name, 0) for name in names[1:])]


def test_a_run_that_is_stopped_keeps_what_it_measured_and_the_rest_can_be_measured_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, names = tmp_path / "found.json", [case.name for case in load_group("streaming").cases]
    measured: list[str] = []

    def run_case(group: Group, case: Case, processes: Any, *, rounds: int) -> dict[str, Any]:
        if measured == names[:1]:
            measured.append("")
            raise KeyboardInterrupt
        measured.append(case.name)
        return {"name": case.name, "options": {}, "notes": {}, "results": {}}

    monkeypatch.setattr(driver, "run_case", run_case)
    with pytest.raises(KeyboardInterrupt):
        main(["streaming", "--json", str(path)])
    group = json.loads(path.read_text())["groups"]["streaming"]
    assert ([case["name"] for case in group["cases"]], group["not_measured"]) == (names[:1], names[1:])
    assert f"The run was stopped before these cases: {', '.join(names[1:])}." in "".join(page.section(group))
    assert main(["streaming", "--missing", "--json", str(path)]) == 0
    group = json.loads(path.read_text())["groups"]["streaming"]
    assert ([case["name"] for case in group["cases"]], group["not_measured"]) == (names, [])
    assert measured == [*names[:1], "", *names[1:]]
    assert [file.name for file in tmp_path.iterdir()] == ["found.json"]


@pytest.mark.parametrize("unit", ["lines", "stream"])
def test_a_small_corpus_can_be_measured(unit: str) -> None:
    prepared = load_group("growth").contenders[0].load()(growing=unit, size=300_000)
    prepared.run()
    case = {"name": f"corpus {unit}", "options": {"growing": unit, "size": 300_000}, "notes": prepared.notes}
    (line,) = load_group("growth").derive([case]).values()  # type: ignore[misc]
    assert prepared.notes["examples"] > 500
    assert 0 <= prepared.notes["storing"] < 100
    assert f"{prepared.notes['examples']:,} lines stored in" in line
