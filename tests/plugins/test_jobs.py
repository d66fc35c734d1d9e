"""Three jobs of a user: few lines, public names, and they train."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from seqkit.public_api import private_imports

JOBS = Path(__file__).parents[1] / "jobs"
LINES = {"sensors": 60, "lifetime": 40, "etth1": 40}
FUNCTIONS = {"sensors": "activity", "lifetime": "remaining", "etth1": "transformer"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Python finds packages in, with the three modules and the entry points of their tasks."""
    folder = tmp_path_factory.mktemp("site")
    for name in LINES:
        (folder / f"{name}.py").write_text((JOBS / f"{name}.py").read_text())
    metadata = folder / "jobs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: jobs\nVersion: 1.0\n")
    points = "".join(f"{function} = {name}:{function}\n" for name, function in FUNCTIONS.items())
    (metadata / "entry_points.txt").write_text(f"[seqkit.tasks]\n{points}")
    return folder


def write_data(folder: Path, name: str) -> dict[str, object]:
    """Small files of the job's format, and the options that name them."""
    draw = random.Random(name)
    if name == "sensors":
        for part in ("train", "test"):
            rows = []
            for number in range(30):
                steps = draw.randint(3, 9)
                channels = (",".join(f"{draw.gauss(number % 3, 0.2):.3f}" for _ in range(steps)) for _ in range(2))
                rows.append(f"{':'.join(channels)}:{'abc'[number % 3]}\n")
            (folder / f"{part}.ts").write_text("#made up\n@classLabel true a b c\n@data\n" + "".join(rows))
        return {"folder": ".", "train": "train.ts", "test": "test.ts"}
    if name == "lifetime":
        for part in ("train", "test"):
            lines = [
                f"{engine} {cycle} " + " ".join(f"{draw.random():.2f}" for _ in range(24)) + "\n"
                for engine in range(1, 11)
                for cycle in range(1, draw.randint(8, 20))
            ]
            (folder / f"{part}_FD001.txt.gz").write_bytes(gzip.compress("".join(lines).encode()))
        (folder / "RUL_FD001.txt.gz").write_bytes(gzip.compress(b"12\n" * 10))
        return {"folder": "."}
    rows = [f"2016-07-01 {hour},{hour % 24},{draw.random():.3f}\n" for hour in range(300)]
    (folder / "ETTh1.csv").write_text("date,HUFL,OT\n" + "".join(rows))
    return {"file": "ETTh1.csv", "hours": [200, 50, 50], "history": 30}


@pytest.mark.parametrize("name", LINES)
def test_it_is_short_and_uses_public_names_alone(name: str) -> None:
    source = (JOBS / f"{name}.py").read_text()
    assert len(source.splitlines()) <= LINES[name]
    assert list(private_imports(source)) == []


@pytest.mark.parametrize("name", LINES)
def test_it_trains_and_is_proved(name: str, installed: Path, tmp_path: Path) -> None:
    recipe = {
        "tasks": {"job": {"use": FUNCTIONS[name], **write_data(tmp_path, name)}},
        "encoder": {"use": "gru", "dim": 8, "hidden": 8},
        "train": {"steps": 3, "batch": 4},
    }
    (tmp_path / "job.yaml").write_text(json.dumps(recipe))
    paths = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "SEQKIT_CACHE": str(tmp_path / "cache")}

    def seqkit(*words: str) -> str:
        command = [sys.executable, "-m", "seqkit", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    scores = json.loads(seqkit("run", "job.yaml", "--out", "run", "--quiet", "--json"))
    expected = {"sensors": "job/test/accuracy", "lifetime": "job/test/rmse", "etth1": "job/test/mse"}[name]
    assert expected in scores.get("scores", scores)
    seqkit("prove", "job.yaml")
