"""Every reader of ours against damaged files: examples, or an error that it documents, within a second and in peace.

A few hundred a reader run with every change; more by command, and with the number wished for:

    SEQKIT_FUZZ=100000 pytest -m slow tests/hostile/test_fuzz.py
"""

from __future__ import annotations

import gc
import gzip
import importlib.util
import json
import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from seqkit_genome import fasta
from seqkit_ner.sources import ConllReader

from seqkit import readers
from seqkit import recipe as recipes
from seqkit.errors import RunError, SeqkitError
from seqkit.layers.pretrained_vectors import read_vectors
from seqkit.model import load_model
from seqkit.runs import checkpoint, manifest
from tests.helpers import small

SLOWEST = 1.0
"""Seconds that one input may take."""
LARGEST = 500
"""Megabytes that all of them may add to this process."""


@dataclass(frozen=True)
class Target:
    """A reader, what good files of it look like, bytes that mean something to it, and what it may raise."""

    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...]
    read: Callable[[Path], object]
    raises: tuple[type[Exception], ...] = (SeqkitError,)
    name: str = "x"


RECIPE = b"""
seed: 1
tasks:
  mood: {use: sentiment, source: generated, sizes: [20, 5, 5]}
encoder: {use: lstm, hidden: 8, layers: 1, dropout: 0.1}
train: {epochs: 3, batch: 32, optimizer: {use: adamw, lr: 2.0e-3}, clip: 1.0}
expect: {mood/test/accuracy: {at_least: 0.5}}
"""
TEXT = (
    b"\n",
    b"\r",
    b"\r\n",
    b"\t",
    b"\0",
    b'"',
    b",",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",
    b" ",
)
RIFF = bytes.fromhex(
    "524946462c00000057415645666d7420100000000100010040 1f0000803e0000020010006461746108000000".replace(" ", "")
)


def drain(found: Iterator[object]) -> int:
    return sum(1 for _ in found)


def wav(path: Path) -> object:
    from seqkit_speech.audio import decode

    return decode(path.read_bytes(), path.name)


def archive(path: Path) -> object:
    from seqkit_speech.archive import Archive

    opened = Archive(path)
    return [opened.read(name) for name in opened.names()]


def zipped() -> bytes:
    import io
    import zipfile

    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("yes/1.wav", RIFF + bytes(8))
        made.writestr("no/2.wav", b"hello " * 50)
    return held.getvalue()


def targets() -> dict[str, Target]:
    found = {
        "recipe": Target(
            (RECIPE,),
            (b"[", b"{", b": ", b"- ", b"!!", b"&a ", b"*a", b"<<", b"|", b">", b"? ", b"%", b"#", b"---\n", b"'"),
            lambda path: recipes.parse(path.read_bytes(), "r.yaml"),
        ),
        "lines": Target((b"a good film\nnot bad\n",), TEXT, lambda path: drain(readers.lines(path))),
        "tsv": Target(
            (b"text\tlabel\na good film\t1\nnot bad\t0\n",), TEXT, lambda path: drain(readers.tsv(path, header=True))
        ),
        "csv": Target((b'text,label\r\n"a, ""b""",1\r\nnot bad,0\r\n',), TEXT, lambda path: drain(readers.csv(path))),
        "jsonl": Target(
            (b'{"text": "a \\u00e9", "label": "1"}\n{"text": ["x"], "label": 2.5}\n',),
            (*TEXT, b"{", b"[" * 50, b"NaN", b"1e999", b"\\ud800", b'"text":', b"9" * 5000),
            lambda path: drain(readers.jsonl(path)),
        ),
        "conll": Target(
            (b"-DOCSTART- O\n\nEU B-ORG\nrejects O\n\nPeter B-PER\nBlackburn I-PER\n",),
            (*TEXT, b" B-", b" I-X", b" O\n", b"-DOCSTART-"),
            lambda path: drain(ConllReader().read(path)),
        ),
        "vectors": Target(
            (b"3 2\nthe 0.1 0.2\nof 1 -1\na 0 1e-3\n",),
            (*TEXT, b"nan", b"inf", b"1e999", b"99999999999", b"-", b"."),
            lambda path: read_vectors(path, {"the", "a"}),
            name="x.txt",
        ),
        "packed vectors": Target(
            (gzip.compress(b"3 2\nthe 0.1 0.2\nof 1 -1\n" + b"a 0 1\n" * 50),),
            (b"\x1f\x8b", bytes(4), b"\xff" * 4),
            lambda path: read_vectors(path, {"the", "a"}),
            name="x.gz",
        ),
        "packed lines": Target(
            (gzip.compress(b"a good film\nnot bad\n" * 20),),
            (b"\x1f\x8b", bytes(4), b"\xff" * 4),
            lambda path: drain(readers.lines(path)),
            name="x.gz",
        ),
        "wav": Target(
            (RIFF + bytes(8),),
            (b"RIFF", b"fmt ", b"data", b"LIST", b"\xff\xff\xff\xff", bytes(4), b"\x03\x00", b"\xfe\xff"),
            wav,
            (ValueError,),
            "x.wav",
        ),
        "zip": Target(
            (zipped(),), (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"../", b"\xff\xff", bytes(4)), archive,
            (SeqkitError, ValueError),
            "x.zip",
        ),
    }  # fmt: skip
    if importlib.util.find_spec("Bio"):
        words = (*TEXT, b">", b"@", b"+", b"\n>", b";", b"*", b"-", b"N", b"u")
        records = (b">a first\nACGTRN\nAC\n>b\nTTT\n",)
        found["fasta"] = Target(records, words, lambda path: drain(fasta.read_fasta(path)))
        records = (b"@r1 x\nACGT\n+\nIIII\n@r2\nNN\n+r2\n@+\n",)
        found["fastq"] = Target(records, words, lambda path: drain(fasta.read_fastq(path)))
    if not importlib.util.find_spec("soundfile"):
        del found["wav"]
    return found


TARGETS = targets()


def mutations(target: Target, count: int, seed: int) -> Iterator[bytes]:
    """Good files with a few bytes changed, moved, doubled, cut out, put in, or cut off."""
    rng = random.Random(seed)
    for _ in range(count):
        changed = bytearray(rng.choice(target.seeds))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            at = rng.randrange(len(changed) + 1)
            to = min(len(changed), at + rng.randint(1, 12))
            match rng.randrange(8):
                case 0:
                    changed[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    changed[at:at] = rng.choice(target.words)
                case 2:
                    changed[at:to] = rng.choice(target.words)
                case 3:
                    del changed[at:to]
                case 4:
                    changed[at:at] = changed[at:to] * rng.choice((1, 2, 50))
                case 5 if rng.random() < 0.3:
                    del changed[at:]
                case 6 if at < len(changed):
                    changed[at] ^= 1 << rng.randrange(8)
                case _:
                    changed[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 6)))
        yield bytes(changed)


def storm(target: Target, folder: Path, count: int, seed: int) -> tuple[int, int]:
    """(read, refused) of so many damaged files."""
    path = folder / target.name
    read = refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in mutations(target, count, seed):
        path.write_bytes(content)
        began = time.process_time()
        try:
            target.read(path)
            read += 1
        except target.raises as error:
            refused += bool(str(error).strip())
        except Exception as error:
            raise AssertionError(f"{content!r} ends in {type(error).__name__}: {error}") from error
        assert time.process_time() - began < SLOWEST, f"{content[:200]!r} takes too long"
    gc.collect()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < LARGEST
    return read, refused


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    read, refused = storm(TARGETS[name], tmp_path, 40 if name == "recipe" else 400, seed=1)
    assert refused > 20, "nothing was damaged"
    assert name in ("zip", "recipe") or read > 0, "nothing was left to read"


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_very_many_damaged_files(name: str, tmp_path: Path) -> None:
    count = int(os.environ.get("SEQKIT_FUZZ", "20000"))
    read, refused = storm(TARGETS[name], tmp_path, count, seed=int(os.environ.get("SEQKIT_FUZZ_SEED", "2")))
    print(f"{name}: {read:,} read, {refused:,} refused")
    assert read + refused == count


# ---- manifests: hashes keep honest files honest; a stranger writes what he likes, hashes and all


def strangers_json(rng: random.Random, depth: int = 0) -> object:
    """Any value that JSON can hold."""
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind == 1:
        return rng.choice((0, 1, -1, 2**31, 2**63, -(2**70), 10**400, 1e308, 0.5, float("nan"), float("inf")))
    if kind < 6:
        return rng.choice(
            ("", "x", "model.safetensors", "../x", "/dev/zero", "\0", "\ud800", "a" * 3000, "$tensor", "😀")
        )
    if kind == 6:
        return [strangers_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(strangers_json(rng, 9)): strangers_json(rng, depth + 1) for _ in range(rng.randrange(4))}


def spoiled(value: object, rng: random.Random) -> object:
    """The same JSON with one thing in it replaced, left out, or added."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        changed = dict(value)
        key = rng.choice(list(changed))
        if rng.random() < 0.15:
            del changed[key]
        else:
            changed[key] = spoiled(changed[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.7:
        changed_list = list(value)
        at = rng.randrange(len(changed_list))
        changed_list[at] = spoiled(changed_list[at], rng)
        return changed_list
    return strangers_json(rng)


def test_manifests_that_lie(tmp_path: Path) -> None:
    """Of checkpoints (sealed again, as their writer would) and of models: loaded, or one documented error."""
    rng = random.Random(4)
    data = small.vectors(tmp_path / "cache")
    run = small.run_in(tmp_path / "run")
    small.trained(small.model(data), data, small.settings(steps=3), run)
    saved = checkpoint.newest(run.checkpoints)
    assert saved is not None
    path = saved / manifest.MANIFEST
    good = json.loads(path.read_bytes())
    refused = 0
    for _ in range(100):
        lie = spoiled({key: value for key, value in good.items() if key != "sha256"}, rng)
        if isinstance(lie, dict):
            lie = {**lie, "sha256": manifest._seal(lie)}
        path.write_bytes(manifest._canonical(lie).encode("utf-8", "backslashreplace"))
        try:
            checkpoint.load(saved)
        except RunError:
            refused += 1
    assert refused > 60


def test_models_that_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's manifest and what its fields learned, with hashes that fit: opened, or one documented error."""
    import hashlib

    from seqkit.model import build_model, save_model
    from seqkit.verification import recipe_contracts

    checked = recipes.parse(RECIPE, "r.yaml")
    parts = {
        name: recipe_contracts.sample_task(name, recipes.build_task(entry)) for name, entry in checked.tasks.items()
    }
    made = build_model(checked, {name: (part.task, part.input, part.target) for name, part in parts.items()})
    folder = tmp_path / "model"
    save_model(made, folder, checked.resolved(), {name: (part.input, part.target) for name, part in parts.items()})
    load_model(folder)
    rng = random.Random(5)
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    fields = json.loads((folder / "fields.json").read_bytes())
    refused = 0
    for number in range(60):
        learned, listed = fields, manifest
        if number % 2:
            learned = spoiled(fields, rng)
        text = json.dumps(learned).encode()
        (folder / "fields.json").write_bytes(text)
        listed = {**manifest, "files": {**manifest["files"], "fields.json": hashlib.sha256(text).hexdigest()}}
        if not number % 2:
            listed = spoiled(listed, rng)
        (folder / "MANIFEST.json").write_text(json.dumps(listed))
        try:
            load_model(folder)
        except SeqkitError:
            refused += 1
    assert refused > 20
