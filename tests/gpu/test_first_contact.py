"""The script that a borrowed GPU runs first: a part that fails costs itself only, and what it found is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.gpu import first_contact
from tests.helpers.scripts import load_script


def parts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "first_contact.json").read_text())["parts"]
    return facts


def test_a_part_that_fails_keeps_what_it_found_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **options: Any) -> Any:
        name = command[command.index("--child") + 1]
        if name == "layers":
            first_contact._write(tmp_path, name, {"rows": [{"hidden": 64}]})
            raise first_contact.subprocess.TimeoutExpired(command, 1)
        first_contact._write(tmp_path, name, {"device": "none"})
        return first_contact.subprocess.CompletedProcess(command, 0, "", "")

    (tmp_path / "layers.json").write_text('{"rows": "of an earlier run"}')
    monkeypatch.setattr(first_contact.subprocess, "run", run)
    only = ["--only", "layers", "--only", "versions"]
    assert first_contact.main(["--out", str(tmp_path), *only]) == 0
    found = parts(tmp_path)
    assert found["layers"]["rows"] == [{"hidden": 64}]
    assert "was ended after" in found["layers"]["error"]
    assert found["versions"] == {"device": "none"}


@pytest.mark.slow
def test_without_a_gpu_each_part_says_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    only = ["--only", "versions", "--only", "layers"]
    assert first_contact.main(["--out", str(tmp_path), "--quick", *only]) == 0
    assert all("Error" in of_part["error"] for of_part in parts(tmp_path).values())


def test_the_page_shows_the_rows_that_were_measured() -> None:
    row = {
        "cell": "lstm",
        "hidden": 64,
        "batch": 8,
        "precision": "fp32",
        "seqkit": 0.25,
        "torch padded failed": "E: no",
    }
    contact = {
        "when": "2026-01-01",
        "parts": {"versions": {"device": "one", "torch": "2"}, "layers": {"rows": [row], "error": "ended"}},
    }
    page = "".join(load_script("make_gpu").seen(contact))
    assert "This part did not come to its end" in page
    assert "| lstm | 64 | 8 | fp32 | 0.250 |  |  |  |  |" in page
    assert "torch padded failed: E: no" in page
