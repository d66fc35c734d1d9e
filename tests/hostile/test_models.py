"""Model folders from anywhere: refused in a sentence, at once and in bounded memory, with hashes that fit."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from seqkit.cli import main
from seqkit.errors import SeqkitError
from seqkit.model import load_model

MAX_SECONDS = 5.0
MAX_MEGABYTES = 500

RECIPE = """
seed: 1
tasks:
  mood: {use: sentiment, source: generated, sizes: [20, 5, 5]}
encoder: {use: lstm, hidden: 8, dim: 8}
train: {steps: 1}
"""

Attack = Callable[[Path], None]


def resealed(folder: Path) -> None:
    """Give a model's manifest the hashes of its files as they are now."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "MANIFEST.json" and path.is_file() and not path.is_symlink()
    }
    (folder / "MANIFEST.json").write_text(json.dumps({"format_version": 1, "files": files}))


def option(old: str, new: str) -> Attack:
    """An attack that changes an option of the recipe."""

    def attack(folder: Path) -> None:
        text = (folder / "recipe.yaml").read_text()
        assert old in text
        (folder / "recipe.yaml").write_text(text.replace(old, new))
        resealed(folder)

    return attack


def content(name: str, data: bytes) -> Attack:
    def attack(folder: Path) -> None:
        (folder / name).write_bytes(data)
        if name != "MANIFEST.json":
            resealed(folder)

    return attack


def instead(name: str, make: Callable[[Path], Any]) -> Attack:
    """An attack that puts something else in the place of a file, which the manifest still lists."""

    def attack(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return attack


def numbers(value: float) -> Attack:
    """An attack that puts a number into one weight."""

    def attack(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        weights = {name: tensor.clone() for name, tensor in weights.items()}
        next(iter(weights.values())).view(-1)[0] = value
        save_file(weights, folder / "model.safetensors")
        resealed(folder)

    return attack


def header(text: bytes, size: int | None = None) -> Attack:
    return content("model.safetensors", (len(text) if size is None else size).to_bytes(8, "little") + text)


def plugin(**changes: Any) -> Attack:
    entry = {
        "distribution": "seqkit-other",
        "version": "1",
        "sha256": "",
        "needs": "",
        "entry_points": [{"kind": "encoders", "name": "other", "value": "other:Other"}],
    }
    return content("plugins.json", json.dumps([entry | changes]).encode())


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/stdin")


def folder(path: Path) -> None:
    path.mkdir()


FILES = ("MANIFEST.json", "model.safetensors", "recipe.yaml", "fields.json", "plugins.json")
LONG = "n" * 100_000
DEEP = b"[" * 200_000
ATTACKS: dict[str, Attack] = {
    **{f"{name} is a {make.__name__}": instead(name, make) for name in FILES for make in (pipe, device, folder)},
    "MANIFEST.json is standard input": instead("MANIFEST.json", terminal),
    **{f"{name} is deep": content(name, DEEP) for name in FILES},
    **{f"{name} is deep in objects": content(name, b'{"a":' * 200_000) for name in FILES},
    **{f"{name} is empty": content(name, b"") for name in FILES},
    **{f"{name} is not text": content(name, b"\xff\xfe\x00\x01") for name in FILES},
    **{f"{name} is NaN": content(name, b"NaN") for name in FILES if name != "plugins.json"},
    **{f"{name} is sparse and huge": instead(name, lambda path: huge(path)) for name in FILES if "safe" not in name},
    "fields of lists": content("fields.json", b"[" + b"[]," * 3_000_000 + b"[]]"),
    "a thousand million layers": option("layers: 1", "layers: 1000000000"),
    "a million layers": option("layers: 1", "layers: 1000000"),
    "hidden 6000": option("hidden: 8", "hidden: 6000"),
    "hidden 10000000": option("hidden: 8", "hidden: 10000000"),
    "hidden 1 << 62": option("hidden: 8", f"hidden: {1 << 62}"),
    "dim 100000000": option("dim: 8", "dim: 100000000"),
    "NaN in a weight": numbers(float("nan")),
    "infinity in a weight": numbers(float("inf")),
    "header longer than the file": header(b"{}", 1 << 40),
    "header of 2 ** 64": header(b"{}", (1 << 64) - 1),
    "header without tensors": header(b"{}"),
    "header that is no JSON": header(b"x" * 100),
    "header that is deep": header(DEEP),
    "tensor beyond the file": header(b'{"a":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}'),
    "tensor of shape 2 ** 62": header(b'{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}'),
    "a distribution with a command": plugin(distribution='x"; rm -rf ~; "'),
    "a distribution with an option": plugin(distribution="--force-reinstall"),
    "a distribution with an escape": plugin(distribution="\x1b[2Jgood"),
    "a distribution with a mark": plugin(distribution="a\u202eb"),
    "a distribution of 100,000 characters": plugin(distribution=LONG),
    "a version with a command": plugin(version='1"; rm -rf ~; "'),
    "a version of 100,000 characters": plugin(version=LONG),
    "a plugin of 100,000 characters": plugin(entry_points=[{"kind": "encoders", "name": LONG, "value": "a:b"}]),
    "a plugin with an escape": plugin(entry_points=[{"kind": "encoders", "name": "\x1b]0;x\x07", "value": "a:b"}]),
    "a module that is a path": plugin(entry_points=[{"kind": "encoders", "name": "x", "value": "/etc/passwd"}]),
    "10,000 distributions": content(
        "plugins.json",
        json.dumps(
            [
                {
                    "distribution": f"seqkit-{number}",
                    "version": "1",
                    "sha256": "",
                    "entry_points": [{"kind": "encoders", "name": f"x{number}", "value": "a:b"}],
                }
                for number in range(10_000)
            ]
        ).encode(),
    ),
}


def huge(path: Path) -> None:
    """A file of 1 TB that takes no space."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that opens."""
    place = tmp_path_factory.mktemp("sound")
    (place / "x.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQKIT_CACHE", str(place / "cache"))
        result = CliRunner().invoke(main, ["run", str(place / "x.yaml"), "--out", str(place / "run"), "--quiet"])
    assert result.exit_code == 0, result.output
    load_model(place / "run" / "model")
    return place / "run" / "model"


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_model_is_refused_in_a_sentence(name: str, sound: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(sound, model)
    ATTACKS[name](model)
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SeqkitError) as caught:
        load_model(model)
    assert time.monotonic() - start < MAX_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MAX_MEGABYTES
    message = str(caught.value)
    assert 10 < len(message) < 20_000
    assert not any(command in message for command in ("pip install --", "pip install x", 'rm -rf ~; "=='))
