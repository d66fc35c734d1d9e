"""Checkpoints: exact, complete or absent, and never damaged without being noticed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqkit.errors import RunError
from seqkit.io import atomic
from seqkit.optim.optimizers import OPTIMIZERS
from seqkit.runs import checkpoint, manifest, state_tree
from seqkit.runs.manifest import Damaged, TooNew
from seqkit.types import JSON

STATE: JSON = {"progress": {"step": 3, "best": float("inf"), "name": "é\ud800"}, "list": [1, 2.5, None, True], "": {}}


def tensors(seed: int = 0) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    model = {"a.weight": torch.randn(5, 3, generator=generator), "a.bias": torch.randn(3, generator=generator)}
    return {"model": model, "random": {"cpu": torch.randint(0, 256, (40,), generator=generator, dtype=torch.uint8)}}


def equal(ours: dict[str, dict[str, Tensor]], theirs: dict[str, dict[str, Tensor]]) -> bool:
    return {k: set(v) for k, v in ours.items()} == {k: set(v) for k, v in theirs.items()} and all(
        tensor.dtype == theirs[stem][name].dtype
        and tensor.shape == theirs[stem][name].shape
        and torch.equal(tensor, theirs[stem][name])
        for stem, named in ours.items()
        for name, tensor in named.items()
    )


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(atomic.TEMPORARY)]


# ---- exactness


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "new" / "folder", 120, tensors(), STATE)
    assert path == tmp_path / "new" / "folder" / "step-00000120"
    loaded, state = checkpoint.load(path)
    assert equal(loaded, tensors())
    assert state == STATE
    assert {file.name for file in path.iterdir()} == {
        "model.safetensors",
        "random.safetensors",
        "state.json",
        "MANIFEST.json",
    }
    assert checkpoint.step_of(path) == 120


def test_the_manifest_says_format_size_and_hash(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, tensors(), {})
    manifest = json.loads((path / "MANIFEST.json").read_text())
    assert manifest["format_version"] == 1
    assert set(manifest["files"]) == {"model.safetensors", "random.safetensors", "state.json"}
    for name, entry in manifest["files"].items():
        data = (path / name).read_bytes()
        assert entry == {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(3.0),
        torch.zeros(0, 4),
        torch.tensor([1, -1, 2**62]),
        torch.tensor([True, False]),
        torch.tensor([float("nan"), float("inf"), -0.0]),
        torch.randn(4).bfloat16(),
        torch.randn(4).half(),
        torch.randn(4).double(),
        torch.randn(6, 4).t(),
        torch.randn(10)[2:5],
        nn.Parameter(torch.randn(2)),
    ],
    ids=lambda t: f"{str(t.dtype)[6:]}-{tuple(t.shape)}",
)
def test_every_kind_of_tensor_comes_back_bit_for_bit(tensor: Tensor, tmp_path: Path) -> None:
    loaded, _ = checkpoint.load(checkpoint.save(tmp_path, 0, {"x": {"t": tensor}}, None))
    copy = loaded["x"]["t"]
    assert copy.dtype == tensor.dtype
    assert copy.shape == tensor.shape
    ours, theirs = tensor.detach().contiguous(), copy.contiguous()
    assert ours.reshape(-1).view(torch.uint8).tolist() == theirs.reshape(-1).view(torch.uint8).tolist()


def test_tied_weights_and_views_of_one_buffer_are_stored_under_each_name(tmp_path: Path) -> None:
    tied, buffer = torch.randn(3, 3), torch.randn(20)
    named = {"a": tied, "b": tied, "c": tied[0], "d": buffer[:10], "e": buffer[10:], "f": buffer}
    loaded, _ = checkpoint.load(checkpoint.save(tmp_path, 0, {"model": named}, {}))
    assert equal(loaded, {"model": named})


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = checkpoint.save(tmp_path / "c", 1, tensors(), {})
        checkpoint.set_pointer(tmp_path / "c", "last", path)
    finally:
        os.umask(before)
    for file in (tmp_path / "c").rglob("*"):
        assert file.stat().st_mode & 0o777 == (0o750 if file.is_dir() else 0o640), file


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {1: 2}}, "state.a: the key 1"),
        ({"a": [0, (1, 2)]}, r"state.a\[1\]: tuple"),
        ({"a": {"b": {3}}}, "state.a.b: set"),
        ({"a": torch.zeros(1)}, "state.a: Tensor"),
    ],
)
def test_a_state_that_json_would_change_is_refused_before_anything_is_written(
    state: JSON, message: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=message):
        checkpoint.save(tmp_path, 1, tensors(), state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stem", ["", "../x", "a/b", ".hidden", "MANIFEST.json", "x" * 65])
def test_a_stem_is_a_plain_name(stem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a name"):
        checkpoint.save(tmp_path, 1, {stem: {}}, {})


# ---- optimisers and generators


@pytest.mark.parametrize("use", list(OPTIMIZERS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_optimiser_continues_bit_for_bit(use: str, dtype: torch.dtype, tmp_path: Path) -> None:
    options: dict[str, Any] = {"momentum": 0.9} if use == "sgd" else {}

    def build() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = nn.Linear(4, 3).to(dtype)
        return layer, OPTIMIZERS[use](layer.parameters(), **options)

    def step(layer: nn.Linear, optimizer: torch.optim.Optimizer, number: int) -> None:
        x = torch.randn(5, 4, generator=torch.Generator().manual_seed(number)).to(dtype)
        layer(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    layer, optimizer = build()
    for number in range(3):
        step(layer, optimizer, number)
    packed, json_part = state_tree.pack(optimizer.state_dict())
    path = checkpoint.save(tmp_path, 3, {"model": layer.state_dict(), "optimizer": packed}, {"optimizer": json_part})

    other, resumed = build()
    loaded, state = checkpoint.load(path)
    other.load_state_dict(loaded["model"])
    resumed.load_state_dict(state_tree.unpack(loaded["optimizer"], state["optimizer"]))
    for number in range(3, 6):
        step(layer, optimizer, number)
        step(other, resumed, number)
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)
    assert equal({"o": state_tree.pack(optimizer.state_dict())[0]}, {"o": state_tree.pack(resumed.state_dict())[0]})


# ---- damage


def _flip(path: Path, rng: random.Random) -> None:
    file = rng.choice(sorted(path.iterdir()))
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def _truncate(path: Path, rng: random.Random) -> None:
    file = rng.choice(sorted(path.iterdir()))
    os.truncate(file, rng.randrange(file.stat().st_size))


def _zero(path: Path, rng: random.Random) -> None:
    file = rng.choice(sorted(path.iterdir()))
    data = bytearray(file.read_bytes())
    start = rng.randrange(len(data))
    data[start : start + 16] = bytes(len(data[start : start + 16]))
    if data == file.read_bytes():
        data[start] ^= 1  # it was zero before; damage it in some other way
    file.write_bytes(data)


def _swap(path: Path, rng: random.Random) -> None:
    one, two = rng.sample(sorted(path.iterdir()), 2)
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def _delete(path: Path, rng: random.Random) -> None:
    rng.choice(sorted(path.iterdir())).unlink()


def _duplicate(path: Path, rng: random.Random) -> None:
    file = rng.choice(sorted(path.iterdir()))
    shutil.copy(file, file.with_name("copy-" + file.name))


def _empty(path: Path, rng: random.Random) -> None:
    rng.choice(sorted(path.iterdir())).write_bytes(b"")


def _link(path: Path, rng: random.Random) -> None:
    file = rng.choice(sorted(set(path.iterdir()) - {path / "MANIFEST.json"}))
    file.rename(path.parent / "moved")
    file.symlink_to(path.parent / "moved")


DAMAGE = [_flip, _flip, _flip, _truncate, _zero, _swap, _delete, _duplicate, _empty, _link]


@pytest.mark.parametrize("seed", [*range(100), *(pytest.param(n, marks=pytest.mark.slow) for n in range(100, 1000))])
def test_damage_is_found_named_and_skipped(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # for speed
    old = checkpoint.save(tmp_path, 10, tensors(1), {"step": 10})
    new = checkpoint.save(tmp_path, 20, tensors(2), {"step": 20})
    before = {file.name: file.read_bytes() for file in new.iterdir()}
    DAMAGE[seed % len(DAMAGE)](new, random.Random(seed))
    after = {file.name: b"" if file.is_symlink() else file.read_bytes() for file in new.iterdir()}
    assert before != after, "the mutation changes something"
    sentences: list[str] = []
    with pytest.raises(RunError):
        checkpoint.load(new)
    assert checkpoint.newest(tmp_path, sentences.append, repair=False) == old
    assert new.exists(), "a reader repairs nothing"
    assert checkpoint.newest(tmp_path, sentences.append) == old
    assert all("step-00000020" in sentence for sentence in sentences)
    assert len(sentences) == 2
    if "checkpoint format" not in sentences[-1]:  # with a flipped format number it may be valid for a later version
        assert (tmp_path / "step-00000020.corrupt").is_dir()
        assert not new.exists()
    assert checkpoint.load(old)[1] == {"step": 10}


def test_a_folder_without_a_manifest_is_no_checkpoint(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, tensors(), {})
    (path / "MANIFEST.json").unlink()
    with pytest.raises(Damaged, match=r"MANIFEST\.json is missing: the save was not finished"):
        checkpoint.load(path)
    assert checkpoint.newest(tmp_path) is None


def test_a_copy_under_another_step_is_found(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, tensors(), {})
    shutil.copytree(path, tmp_path / "step-00000009")
    with pytest.raises(Damaged, match="its manifest belongs to step-00000001"):
        checkpoint.load(tmp_path / "step-00000009")
    assert checkpoint.newest(tmp_path) == path


def test_a_second_corrupt_checkpoint_of_a_step_gets_a_number(tmp_path: Path) -> None:
    for _ in range(2):
        (checkpoint.save(tmp_path, 5, tensors(), {}) / "state.json").write_text("?")
        assert checkpoint.newest(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005.corrupt", "step-00000005.corrupt-2"]


def test_hidden_files_of_a_desktop_are_not_damage(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 5, tensors(), {})
    (path / ".DS_Store").write_bytes(b"x")
    assert checkpoint.newest(tmp_path) == path


def test_the_newest_is_found_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 99_999_999, 100_000_000, 10):
        checkpoint.save(tmp_path, step, {}, {})
    assert checkpoint.newest(tmp_path) == tmp_path / "step-100000000"
    assert [checkpoint.step_of(path) for path in checkpoint.steps(tmp_path)] == [9, 10, 99_999_999, 100_000_000]
    assert checkpoint.newest(tmp_path / "absent") is None


# ---- versions


def test_every_released_format_still_loads() -> None:
    """One small checkpoint per format, as the version that introduced it wrote it. These files never change."""
    folder = Path(__file__).parents[1] / "golden"
    assert sorted(path.name for path in folder.glob("checkpoint-format-*")) == [
        f"checkpoint-format-{number}" for number in range(1, manifest.FORMAT_VERSION + 1)
    ]
    path = checkpoint.newest(folder / "checkpoint-format-1", repair=False)
    assert path is not None
    loaded, state = checkpoint.load(path)
    assert torch.equal(loaded["model"]["w"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(loaded["model"]["b"], torch.tensor([1.5], dtype=torch.bfloat16))
    assert state["progress"] == {"step": 3, "best": float("inf")}
    weight = nn.Parameter(torch.zeros(1, 2))
    optimizer = torch.optim.AdamW([weight])
    optimizer.load_state_dict(state_tree.unpack(loaded["optimizer"], state["optimizer"]))
    assert optimizer.param_groups[0]["lr"] == 0.125
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert torch.allclose(optimizer.state[weight]["exp_avg"], torch.tensor([[0.1, -0.2]]))


def _future(path: Path, *, sealed: bool) -> None:
    manifest = json.loads((path / "MANIFEST.json").read_text())
    manifest["format_version"] = 7
    manifest["seqkit"] = "9.9.9"
    manifest["something"] = {"new": True}
    if sealed:
        del manifest["sha256"]
        manifest["sha256"] = hashlib.sha256((json.dumps(manifest, indent=2) + "\n").encode()).hexdigest()
    (path / "MANIFEST.json").write_text(json.dumps(manifest, indent=2) + "\n")


def test_a_later_format_is_refused_naming_both_versions(tmp_path: Path) -> None:
    old = checkpoint.save(tmp_path, 1, tensors(), {})
    new = checkpoint.save(tmp_path, 2, tensors(), {})
    _future(new, sealed=True)
    for attempt in (lambda: checkpoint.load(new), lambda: checkpoint.newest(tmp_path)):
        with pytest.raises(TooNew, match=r"format 7 \(by seqkit 9\.9\.9\).*up to format 1"):
            attempt()
    assert new.exists()
    assert old.exists()


def test_a_manifest_with_an_edited_format_is_not_trusted(tmp_path: Path) -> None:
    """After a flipped bit or an edit an older checkpoint is used; if there is none, the error names the formats."""
    new = checkpoint.save(tmp_path, 2, tensors(), {})
    _future(new, sealed=False)
    with pytest.raises(TooNew, match=r"format 7 .* up to format 1"):
        checkpoint.newest(tmp_path)
    old = checkpoint.save(tmp_path, 1, tensors(), {})
    sentences: list[str] = []
    assert checkpoint.newest(tmp_path, sentences.append) == old
    assert "format 7" in sentences[0]
    assert new.exists()


@pytest.mark.parametrize("version", [0, -1, "1", None, 1.5, True])
def test_an_invalid_format_is_damage(version: JSON, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 2, tensors(), {})
    manifest = json.loads((path / "MANIFEST.json").read_text())
    (path / "MANIFEST.json").write_text(json.dumps(manifest | {"format_version": version}))
    with pytest.raises(Damaged):
        checkpoint.load(path)


# ---- pointers and retention


def test_pointers(tmp_path: Path) -> None:
    assert checkpoint.read_pointer(tmp_path, "best") is None
    one, two = (checkpoint.save(tmp_path, step, {}, {}) for step in (1, 2))
    checkpoint.set_pointer(tmp_path, "best", one)
    checkpoint.set_pointer(tmp_path, "last", two)
    assert json.loads((tmp_path / "best.json").read_text()) == {"checkpoint": "step-00000001"}
    assert checkpoint.read_pointer(tmp_path, "best") == one
    assert checkpoint.read_pointer(tmp_path, "last") == two
    checkpoint.set_pointer(tmp_path, "best", two)
    assert checkpoint.read_pointer(tmp_path, "best") == two
    shutil.rmtree(two)
    assert checkpoint.read_pointer(tmp_path, "best") is None


@pytest.mark.parametrize("content", ["", "[]", '{"checkpoint": "../../x"}', '{"checkpoint": 3}', '{"checkpoint": "/"}'])
def test_a_pointer_points_nowhere_else(content: str, tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(content)
    assert checkpoint.read_pointer(tmp_path, "best") is None
    with pytest.raises(ValueError, match="not a checkpoint"):
        checkpoint.set_pointer(tmp_path, "best", tmp_path / "elsewhere")


def test_retention_keeps_the_newest_the_best_and_the_protected(tmp_path: Path) -> None:
    saved = {step: checkpoint.save(tmp_path, step, {}, {}) for step in range(1, 8)}
    checkpoint.set_pointer(tmp_path, "best", saved[3])
    checkpoint.set_pointer(tmp_path, "last", saved[7])
    assert checkpoint.prune(tmp_path, 2, protect=[saved[1]]) == [saved[step] for step in (2, 4, 5)]
    assert checkpoint.steps(tmp_path) == [saved[step] for step in (1, 3, 6, 7)]
    checkpoint.prune(tmp_path, 0)
    assert checkpoint.steps(tmp_path) == [saved[3], saved[7]]
    assert leftovers(tmp_path) == []


# ---- the disk


@pytest.mark.parametrize("function", ["open", "write", "fsync", "mkdir", "rename", "close"])
@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "disk full: need "), (errno.EROFS, "Read-only file system")]
)
def test_a_disk_that_takes_no_more(
    function: str, number: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = checkpoint.save(tmp_path, 1, tensors(1), {"step": 1})
    real, calls = getattr(os, function), []

    def once(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == (2 if function == "mkdir" else 1):  # the first one only finds that the folder exists
            raise OSError(number, os.strerror(number))
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, function, once)
        with pytest.raises(RunError) as raised:
            checkpoint.save(tmp_path, 2, tensors(2), {"step": 2})
    assert message in str(raised.value)
    assert str(raised.value).endswith(f"last good checkpoint: {good}")
    assert leftovers(tmp_path) == []
    assert checkpoint.newest(tmp_path) == good
    again = checkpoint.save(tmp_path, 2, tensors(2), {"step": 2})
    assert checkpoint.newest(tmp_path) == again


LIMITED = """
import resource, sys, torch
from pathlib import Path
from seqkit.runs import checkpoint
from seqkit.errors import RunError
big = {"model": {"w": torch.zeros(200_000)}}
folder = Path("c")
checkpoint.save(folder, 1, big, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
try:
    checkpoint.save(folder, 2, big, {"big": "x" * 5000})
except RunError as error:
    print(error)
else:
    print("saved")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(sorted(path.name for path in folder.iterdir()))
print(checkpoint.newest(folder))
"""


@pytest.mark.parametrize("limit", [0, 1000, 400_000])
def test_a_real_file_size_limit(limit: int, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    message, listed, newest = result.stdout.splitlines()
    assert message.startswith("disk full: need 866 kB, have ")
    assert message.endswith("last good checkpoint: c/step-00000001")
    assert listed == "['step-00000001']"
    assert newest == "c/step-00000001"


def test_free_space_is_checked_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = 2 * (4 * 100_000 + 256) + 2 * 65536
    named = {"model": {"w": torch.zeros(100_000)}}
    monkeypatch.setattr(atomic, "free_bytes", lambda folder: need - 1)
    with pytest.raises(RunError, match=r"disk full: need 932 kB, have 932 kB in .*two checkpoints must fit"):
        checkpoint.check_free_space(tmp_path, named)
    checkpoint.save(tmp_path, 1, named, {})  # one fits
    monkeypatch.setattr(atomic, "free_bytes", lambda folder: need)
    checkpoint.check_free_space(tmp_path, named)
    monkeypatch.setattr(atomic, "free_bytes", lambda folder: 1000)
    with pytest.raises(RunError, match=r"disk full: need 466 kB, have 1\.0 kB in "):
        checkpoint.save(tmp_path, 2, named, {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


# ---- killed

KILLED = """
import json, os, shutil, sys
from pathlib import Path
import torch
from seqkit.runs import checkpoint

scenario, folder = sys.argv[1], Path("c")
os.fsync = lambda handle: None  # a killed process loses nothing that it wrote; that the call is made still counts
names = ["open", "write", "fsync", "replace", "rename", "mkdir", "close", "unlink", "rmdir"]
real = {name: getattr(os, name) for name in names}

def before():
    shutil.rmtree(folder, ignore_errors=True)
    for step in {"first": [], "next": [1], "again": [1, 2], "only": [2]}[scenario]:
        weights = {"w": torch.full((50,), float(step))}
        path = checkpoint.save(folder, step, {"model": weights}, {"step": step, "by": "old"})
        checkpoint.set_pointer(folder, "last", path)
        checkpoint.set_pointer(folder, "best", path)

def work():
    path = checkpoint.save(folder, 2, {"model": {"w": torch.full((50,), 2.0)}}, {"step": 2, "by": "new"})
    checkpoint.set_pointer(folder, "last", path)
    checkpoint.set_pointer(folder, "best", path)
    checkpoint.prune(folder, 1)

outcomes = []
for kill_at in range(1, 200):
    before()
    pid = os.fork()
    if pid == 0:
        count = 0
        def dying(call):
            def wrapped(*a, **k):
                global count
                count += 1
                if count == kill_at:
                    if call is real["write"]:
                        call(a[0], a[1][: len(a[1]) // 2])
                    os._exit(9)
                return call(*a, **k)
            return wrapped
        for name in names:
            setattr(os, name, dying(real[name]))
        work()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    sentences = []
    readable = checkpoint.newest(folder, sentences.append, repair=False)
    newest = checkpoint.newest(folder, sentences.append)
    state = checkpoint.load(newest)[1] if newest else None
    pointed = [checkpoint.read_pointer(folder, name) for name in ("last", "best")]
    pointed = [checkpoint.load(path)[1]["step"] if path else None for path in pointed]
    leftovers = [path.name for path in folder.glob("*") if path.name[:5] != "step-" and path.suffix != ".json"]
    outcomes.append([code, bool(readable), state, pointed, sentences, leftovers])
    # The next save works and leaves nothing but checkpoints and pointers.
    work()
    names_now = sorted(path.name for path in folder.iterdir())
    assert names_now == ["best.json", "last.json", "step-00000002"], names_now
    if code == 0:
        break
json.dump(outcomes, sys.stdout)
"""


@pytest.mark.parametrize("scenario", ["first", "next", "only", pytest.param("again", marks=pytest.mark.slow)])
def test_killed_at_any_system_call_the_old_or_the_new_one_is_valid(scenario: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILLED, scenario],
        cwd=tmp_path,
        # A temporary folder that does not exist: nothing may be staged there.
        env={**os.environ, "TMPDIR": "/nonexistent", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    outcomes = json.loads(result.stdout)
    assert outcomes[-1][0] == 0
    assert len(outcomes) > 25, "each system call of save, set_pointer and prune was tried"
    assert [outcome[0] for outcome in outcomes[:-1]] == [9] * (len(outcomes) - 1)
    new = {"step": 2, "by": "new"}
    step = {"first": None, "next": 1, "again": 2, "only": 2}[scenario]
    old = None if step is None else {"step": step, "by": "old"}
    states = [outcome[2] for outcome in outcomes]
    switch = states.index(new)
    assert switch > 5
    assert all(state == old for state in states[:switch])
    assert all(state == new for state in states[switch:])
    for code, readable, state, pointed, sentences, leftover_names in outcomes:
        assert readable == (state is not None), code
        assert sentences == [], "an unfinished save is not damage"
        assert leftover_names == []
        if scenario != "first":
            assert None not in pointed, "a pointer never dangles"


def test_a_naive_write_fails_the_same_test(tmp_path: Path) -> None:
    """The control: if files are written in place, the test above fails. Otherwise it would prove nothing."""
    in_place = "checkpoint.atomic.temporary = lambda path: path\ncheckpoint._publish = lambda temporary, path: None\n"
    naive = KILLED.replace("outcomes = []\n", in_place + "outcomes = []\n")
    naive = naive.replace("    assert names_now ==", "    assert True or names_now ==")
    result = subprocess.run(
        [sys.executable, "-c", naive, "next"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode != 0 or any(outcome[4] for outcome in json.loads(result.stdout))
