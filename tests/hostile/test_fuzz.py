"""Every reader against damaged files: examples or a documented error, within a second and bounded memory.

The default tests try a few hundred per reader; this tries as many as you want:

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
from seqkit_ner.conll_reader import ConllReader

from seqkit import readers
from seqkit import recipe as recipes
from seqkit.errors import RunError, SeqkitError
from seqkit.layers.vector_table import open_table
from seqkit.model import load_model
from seqkit.runs import checkpoint, manifest
from tests.helpers import small

MAX_SECONDS = 1.0
"""For one input."""
MAX_MEGABYTES = 500
"""That all inputs together may add to this process."""


@dataclass(frozen=True)
class Target:
    """A reader, valid files for it, bytes with a meaning in its format, and the errors that it may raise."""

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


def drain(examples: Iterator[object]) -> int:
    return sum(1 for _ in examples)


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

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("yes/1.wav"), RIFF + bytes(8))
        file.writestr(zipfile.ZipInfo("no/2.wav"), b"hello " * 50)
    return buffer.getvalue()


def targets() -> dict[str, Target]:
    by_name = {
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
            lambda path: open_table(path).look_up({"the", "a"}),
            name="x.txt",
        ),
        "packed vectors": Target(
            (gzip.compress(b"3 2\nthe 0.1 0.2\nof 1 -1\n" + b"a 0 1\n" * 50),),
            (b"\x1f\x8b", bytes(4), b"\xff" * 4),
            lambda path: open_table(path).look_up({"the", "a"}),
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
        by_name["fasta"] = Target(records, words, lambda path: drain(fasta.read_fasta(path)))
        records = (b"@r1 x\nACGT\n+\nIIII\n@r2\nNN\n+r2\n@+\n",)
        by_name["fastq"] = Target(records, words, lambda path: drain(fasta.read_fastq(path)))
    if not importlib.util.find_spec("soundfile"):
        del by_name["wav"]
    return by_name


TARGETS = targets()


def mutations(target: Target, count: int, seed: int) -> Iterator[bytes]:
    """Valid files with a few bytes changed, repeated, removed, inserted, or cut off."""
    rng = random.Random(seed)
    for _ in range(count):
        changed = bytearray(rng.choice(target.seeds))
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            start = rng.randrange(len(changed) + 1)
            end = min(len(changed), start + rng.randint(1, 12))
            match rng.randrange(8):
                case 0:
                    changed[start : start + 1] = bytes([rng.randrange(256)])
                case 1:
                    changed[start:start] = rng.choice(target.words)
                case 2:
                    changed[start:end] = rng.choice(target.words)
                case 3:
                    del changed[start:end]
                case 4:
                    changed[start:start] = changed[start:end] * rng.choice((1, 2, 50))
                case 5 if rng.random() < 0.3:
                    del changed[start:]
                case 6 if start < len(changed):
                    changed[start] ^= 1 << rng.randrange(8)
                case _:
                    changed[start:start] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 6)))
        yield bytes(changed)


def try_mutations(target: Target, folder: Path, count: int, seed: int) -> tuple[int, int]:
    """(read, refused): how many of `count` damaged files were."""
    path = folder / target.name
    read = refused = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in mutations(target, count, seed):
        path.write_bytes(content)
        begin = time.process_time()
        try:
            target.read(path)
            read += 1
        except target.raises as error:
            refused += bool(str(error).strip())
        except Exception as error:
            raise AssertionError(f"{content!r} ends in {type(error).__name__}: {error}") from error
        assert time.process_time() - begin < MAX_SECONDS, f"{content[:200]!r} takes too long"
    gc.collect()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MAX_MEGABYTES
    return read, refused


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    read, refused = try_mutations(TARGETS[name], tmp_path, 40 if name == "recipe" else 400, seed=1)
    assert refused > 20, "no file was damaged"
    assert name in ("zip", "recipe") or read > 0, "no file could be read"


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_very_many_damaged_files(name: str, tmp_path: Path) -> None:
    count = int(os.environ.get("SEQKIT_FUZZ", "20000"))
    read, refused = try_mutations(TARGETS[name], tmp_path, count, seed=int(os.environ.get("SEQKIT_FUZZ_SEED", "2")))
    print(f"{name}: {read:,} read, {refused:,} refused")
    assert read + refused == count


# ---- manifests: hashes find damage, but an attacker can write any content with hashes that match


def random_json(rng: random.Random, depth: int = 0) -> object:
    """Any JSON value."""
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
        return [random_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(random_json(rng, 9)): random_json(rng, depth + 1) for _ in range(rng.randrange(4))}


def mutate_json(value: object, rng: random.Random) -> object:
    """The same JSON with one value in it replaced or removed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        changed = dict(value)
        key = rng.choice(list(changed))
        if rng.random() < 0.15:
            del changed[key]
        else:
            changed[key] = mutate_json(changed[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.7:
        changed_list = list(value)
        index = rng.randrange(len(changed_list))
        changed_list[index] = mutate_json(changed_list[index], rng)
        return changed_list
    return random_json(rng)


def test_forged_manifests(tmp_path: Path) -> None:
    """Manifests of checkpoints, sealed again: loaded, or a documented error."""
    rng = random.Random(4)
    data = small.vectors(tmp_path / "cache")
    run = small.create_run(tmp_path / "run")
    small.train(small.model(data), data, small.settings(steps=3), run)
    saved = checkpoint.newest(run.checkpoints)
    assert saved is not None
    path = saved / manifest.MANIFEST
    good = json.loads(path.read_bytes())
    refused = 0
    for _ in range(100):
        forged = mutate_json({key: value for key, value in good.items() if key != "sha256"}, rng)
        if isinstance(forged, dict):
            forged = {**forged, "sha256": manifest._seal(forged)}
        path.write_bytes(manifest._canonical(forged).encode("utf-8", "backslashreplace"))
        try:
            checkpoint.load(saved)
        except RunError:
            refused += 1
    assert refused > 60


def test_forged_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's manifest and the state of its fields, with matching hashes: opened, or a documented error."""
    import hashlib

    from seqkit.model import build_model, save_model
    from seqkit.verification import recipe_contracts

    checked = recipes.parse(RECIPE, "r.yaml")
    samples = {
        name: recipe_contracts.sample_task(name, recipes.build_task(entry)) for name, entry in checked.tasks.items()
    }
    model = build_model(checked, {name: (data.task, data.input, data.target) for name, data in samples.items()})
    folder = tmp_path / "model"
    save_model(model, folder, checked.resolved(), {name: (data.input, data.target) for name, data in samples.items()})
    load_model(folder)
    rng = random.Random(5)
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    fields = json.loads((folder / "fields.json").read_bytes())
    refused = 0
    for number in range(60):
        learned, listed = fields, manifest
        if number % 2:
            learned = mutate_json(fields, rng)
        text = json.dumps(learned).encode()
        (folder / "fields.json").write_bytes(text)
        listed = {**manifest, "files": {**manifest["files"], "fields.json": hashlib.sha256(text).hexdigest()}}
        if not number % 2:
            listed = mutate_json(listed, rng)
        (folder / "MANIFEST.json").write_text(json.dumps(listed))
        try:
            load_model(folder)
        except SeqkitError:
            refused += 1
    assert refused > 20
