"""Failures on purpose, and how runs survive them: a sample of each campaign in `tests/faults`."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from seqkit import fault_injection
from seqkit.errors import UsageError
from seqkit.fault_injection import KINDS, POINTS
from seqkit.io import atomic


@pytest.fixture(autouse=True)
def _disarm() -> Iterator[None]:
    yield
    fault_injection.arm(None)


def test_each_of_the_104_pairs_is_possible_or_says_why_not() -> None:
    pairs = [(point, kind) for point in POINTS for kind in KINDS]
    assert len(pairs) == 104
    possible = [pair for pair in pairs if fault_injection.why_impossible(*pair) is None]
    assert len(possible) == 72
    for point, kind in possible:
        assert str(fault_injection.parse(f"{point}:{kind}")) == f"{point}:{kind}:1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("save.wrote:kill", "did you mean 'save.write'"),
        ("step:killed", "did you mean 'kill'"),
        ("step", "no kind ''"),
        ("loss:short_write", "nothing is written there"),
        ("save.open:nan", "no number is computed there"),
        ("save.rename:oom", "nothing large is allocated there"),
        ("eval:enospc", "no disk space is used there"),
        ("step:kill:x", "'x' is not a number of visits"),
        ("step:kill:-1", "'-1' is not a number of visits"),
    ],
)
def test_impossible_faults_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        fault_injection.parse(text)
    assert str(raised.value).startswith(f"SEQKIT_FAULT={text}: ")


def test_without_a_fault_nothing_happens() -> None:
    value = object()
    assert fault_injection.at("loss", value) is value
    assert not fault_injection.is_armed("save.write")
    sentences: list[str] = []
    fault_injection.announce(sentences.append)
    assert sentences == []


def test_it_happens_at_the_given_visit_and_is_announced() -> None:
    fault_injection.arm("loss:raise:3")
    sentences: list[str] = []
    fault_injection.announce(sentences.append)
    assert "will fail on purpose" in sentences[0]
    for _ in range(2):
        fault_injection.at("loss")
        fault_injection.at("eval")
    with pytest.raises(fault_injection.Unexpected, match="at loss"):
        fault_injection.at("loss")
    fault_injection.at("loss")
    assert sentences[1:] == ["!!! SEQKIT_FAULT: raise at loss, visit 3"]


@pytest.mark.parametrize(("rank", "fails"), [("1", True), ("0", False), (None, False)])
def test_of_several_processes_that_of_the_given_rank_fails(rank: str | None, fails: bool) -> None:
    script = "from seqkit import fault_injection as f\nprint(f.is_armed('step'))"
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    environment |= {"SEQKIT_FAULT": "step:kill:2@1"} | ({} if rank is None else {"RANK": rank})
    output = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == str(fails)


def test_zero_means_every_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(fault_injection.time, "sleep", slept.append)
    fault_injection.arm("step:sleep:0")
    for _ in range(3):
        fault_injection.at("step")
    assert slept == [fault_injection.SLEEP_SECONDS] * 3


def test_not_a_number_and_out_of_memory() -> None:
    fault_injection.arm("loss:nan:2")
    assert float(fault_injection.at("loss", torch.ones(()))) == 1.0
    assert torch.isnan(fault_injection.at("loss", torch.ones(())))
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    fault_injection.arm("step:nan")
    fault_injection.at("step", layer)
    assert torch.isnan(layer.weight.grad).sum() == 1
    fault_injection.arm("loss:oom")
    with pytest.raises(torch.OutOfMemoryError):
        fault_injection.at("loss")


def test_a_write_can_fail_halfway(tmp_path: Path) -> None:
    fault_injection.arm("save.write:short_write")
    atomic.create(tmp_path / "whole", b"0123456789", point="save.write")
    assert (tmp_path / "whole").read_bytes() == b"0123456789"
    fault_injection.arm("save.write:enospc")
    with pytest.raises(OSError) as raised:
        atomic.create(tmp_path / "half", b"0123456789", point="save.write")
    assert raised.value.errno == errno.ENOSPC
    assert (tmp_path / "half").read_bytes() == b"01234"
    atomic.append(tmp_path / "other", b"0123456789", point="log.flush")
    assert (tmp_path / "other").read_bytes() == b"0123456789"


def test_the_variable_is_read_at_import_only_and_needs_no_torch() -> None:
    code = (
        "import os, sys; os.environ['SEQKIT_FAULT'] = 'step:kill'\n"
        "from seqkit import fault_injection as faults; before = faults.is_armed('step')\n"
        "os.environ['SEQKIT_FAULT'] = 'loss:kill'\n"
        "print(before, faults.is_armed('loss'), 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout == "True False False\n"


# ---- checkpoints of earlier versions


def test_a_run_of_the_first_format_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run folder is from the first version, stopped at step 9 of 12: within an epoch, with two batches per step, a
    carried state, averaged weights and a schedule. It continues to the numbers of that version, but for its dropout:
    examples draw it in another way now, which is told. Without the optimiser's state the dev loss differs by 8e-4,
    without the carried state, the sums or a batch the train loss by 1e-2 and more."""
    from seqkit import recipe
    from seqkit.experiments import run_recipe
    from seqkit.runs.progress import Progress
    from seqkit.runs.run_folder import Run

    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    golden, folder = Path(__file__).parent / "golden" / "run-format-1", tmp_path / "run"
    for path in golden.rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(golden)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    resolved = folder / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace("FOLDER", str(folder)))
    loaded = recipe.load(str(resolved))
    run_recipe.run_recipe(
        dataclasses.replace(loaded, device="cpu"), Run.resume(folder), Progress(quiet=True), resume=True
    )
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    numbers = {f"{row['step']} {key}": value for row in rows if row["step"] > 9 for key, value in row.items()}
    for key, value in json.loads((golden / "expected.json").read_text()).items():
        evaluates = key.endswith(("dev/nats", "test/nats"))
        assert numbers[key] == pytest.approx(value, abs=2e-5 if evaluates else 3e-3), key
    output = "".join(capsys.readouterr())
    assert output.count("drew random numbers in another way") == 1


# ---- a sample of every campaign, in forked children of one process

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of `python -m tests.faults sample`."""
    out = tmp_path_factory.mktemp("faults") / "sample.json"
    variables = {name: value for name, value in os.environ.items() if name != "SEQKIT_FAULT"}
    result = subprocess.run(
        [sys.executable, "-m", "tests.faults", "sample", "--json", str(out)],
        cwd=REPOSITORY,
        env=variables,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert out.exists(), result.stderr[-3000:]
    return dict(json.loads(out.read_text()))


def problems(results: list[dict[str, Any]]) -> list[str]:
    return [f"{result['case']}: {result['problems'][:3]}" for result in results if result["problems"]]


def test_twenty_kills_end_bit_for_bit_alike(sample: dict[str, Any]) -> None:
    assert problems(sample["kills"]) == []
    assert len(sample["kills"]) == 20
    assert sum(kill["where"] != "at random" for kill in sample["kills"]) >= 5


def test_signals_are_obeyed_in_time(sample: dict[str, Any]) -> None:
    assert problems(sample["signals"]) == []
    assert len(sample["signals"]) == 8
    assert {signalled["code"] for signalled in sample["signals"]} == {130, 143}


def test_a_stopped_run_continues_from_exactly_there(sample: dict[str, Any]) -> None:
    assert problems(sample["stops"]) == []
    assert len(sample["stops"]) == 4


def test_a_power_cut_costs_no_checkpoint(sample: dict[str, Any]) -> None:
    assert problems(sample["power"]) == []
    assert len(sample["power"]) == 2


def test_verify_resume_certifies(sample: dict[str, Any]) -> None:
    assert problems(sample["verify"]) == []
    assert "bit for bit equal" in sample["verify"][0]["text"]


def test_what_is_broken_on_purpose_is_noticed(sample: dict[str, Any]) -> None:
    """If the harness could not fail, none of the tests above would prove anything."""
    noticed = {control["broken"]: control["noticed"] for control in sample["controls"]}
    assert len(noticed) >= 5
    assert [broken for broken, difference in noticed.items() if not difference] == []
