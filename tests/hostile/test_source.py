"""Neither pickle nor anything else that runs data as code is used; payloads in files are not executed."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from seqkit.data.store import prepare
from seqkit.errors import RunError, SeqkitError
from seqkit.model import load_model
from seqkit.runs import checkpoint, manifest
from seqkit.types import Task
from tests.helpers import small

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("seqkit", "plugins", "recipes", "docs", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")
)

MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle", "yaml"}
CALLS = {"eval", "exec", "compile", "__import__"}
DOTTED = {
    *("torch.load", "torch.save", "torch.jit.load", "os.system"),
    *("os.popen", "torch.hub.load", "pd.read_pickle", "pandas.read_pickle", "torch.package.PackageImporter"),
    *("torch.distributed.checkpoint.load", "subprocess.getoutput", "subprocess.getstatusoutput"),
}


def dotted(node: ast.AST) -> str:
    """`torch.load` of such an expression."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "(...)"


def forbidden_uses(source: str) -> Iterator[str]:
    """Every use of a forbidden module, call or argument, as `line: use`."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in MODULES:
                    yield f"{line}: import {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            if (node.module or "").partition(".")[0] in MODULES or names & DOTTED:
                yield f"{line}: from {node.module} import ..."
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in CALLS or name in DOTTED or name.partition(".")[0] in MODULES - {"yaml"}:
                yield f"{line}: {name}()"
            for keyword in node.keywords:
                value = keyword.value
                if keyword.arg == "shell" and not (isinstance(value, ast.Constant) and value.value is False):
                    yield f"{line}: shell="
                if keyword.arg == "allow_pickle" and not (isinstance(value, ast.Constant) and value.value is False):
                    yield f"{line}: allow_pickle="
                if name.endswith("YAML") and keyword.arg == "typ" and ast.unparse(value) not in ("'safe'", "'rt'"):
                    yield f"{line}: a YAML loader that is not safe"
                if keyword.arg == "weights_only":
                    yield f"{line}: weights_only="
            if name.endswith(("np.load", "numpy.load")) and not any(k.arg == "allow_pickle" for k in node.keywords):
                yield f"{line}: np.load() that does not say allow_pickle=False"


def test_there_is_no_forbidden_use() -> None:
    assert len(SOURCES) > 80
    uses = [f"{path.relative_to(ROOT)}:{use}" for path in SOURCES for use in forbidden_uses(path.read_text("utf-8"))]
    assert uses == []


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import loads", "import joblib.memory", "eval('1')", "exec(x)", "torch.load(f)"),
        *("np.load(f)", "numpy.load(f, allow_pickle=True)", "np.load(f, allow_pickle=flag)", "import yaml"),
        *("subprocess.run(x, shell=True)", "os.system('x')", "from torch import load", "import dill as d"),
        *(
            "torch.load(f, weights_only=True)",
            "__import__(name)",
            "compile(x, '', 'exec')",
            "builtins = marshal.loads(x)",
        ),
    ],
)
def test_forbidden_uses_are_found(line: str) -> None:
    assert list(forbidden_uses(line)), line


@pytest.mark.parametrize(
    "line", ["re.compile(x)", "json.load(f)", "np.load(f, allow_pickle=False)", "model.to(d).eval()"]
)
def test_similar_uses_are_allowed(line: str) -> None:
    assert list(forbidden_uses(line)) == []


# ---- payloads: files that run a command when they are unpickled


class Payload:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


class Evaluated(Payload):
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (f"__import__('os').system({self.command!r})",)


def payloads(canary: Path) -> dict[str, bytes]:
    """Bytes that create the file `canary` when unpickled, in the formats of models and arrays."""
    command = f"touch '{canary}'"
    plain, evaluated = pickle.dumps(Payload(command)), pickle.dumps(Evaluated(command))
    nested = pickle.dumps({"model": {"w": [Payload(command)]}})
    old, zipped, array = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"model": Payload(command)}, zipped)
    torch.save({"model": Payload(command)}, old, _use_new_zipfile_serialization=False)
    np.save(array, np.array([Payload(command)], dtype=object), allow_pickle=True)
    return {
        "pickle": plain,
        "eval": evaluated,
        "nested": nested,
        "torch, zipped": zipped.getvalue(),
        "torch, old": old.getvalue(),
        "numpy": array.getvalue(),
    }


def test_the_payloads_work(tmp_path: Path) -> None:
    """The control: each of them creates the file when it is unpickled."""
    for name, content in payloads(tmp_path / "canary").items():
        if name.startswith("torch"):
            torch.load(io.BytesIO(content), weights_only=False)
        elif name == "numpy":
            np.load(io.BytesIO(content), allow_pickle=True)
        else:
            pickle.loads(content)
        assert (tmp_path / "canary").exists(), name
        (tmp_path / "canary").unlink()


def test_no_file_that_seqkit_opens_runs_them(tmp_path: Path) -> None:
    """Each payload in each file of a checkpoint, of a model folder and of the store, with matching hashes."""
    import hashlib

    canary = tmp_path / "canary"
    data = small.vectors(tmp_path / "cache")
    run = small.create_run(tmp_path / "run")
    small.train(small.model(data), data, small.settings(steps=3), run)
    saved = checkpoint.newest(run.checkpoints)
    assert saved is not None
    count = 0
    for content in payloads(canary).values():
        for path in sorted(saved.iterdir()):
            before = path.read_bytes()
            path.write_bytes(content)
            if path.name != manifest.MANIFEST:
                listed = json.loads((saved / manifest.MANIFEST).read_bytes())
                original = (saved / manifest.MANIFEST).read_bytes()
                listed["files"][path.name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                text = manifest.manifest_text(listed["step"], listed["files"])
                (saved / manifest.MANIFEST).write_text(text)
            with pytest.raises(RunError):
                checkpoint.load(saved)
            path.write_bytes(before)
            if path.name != manifest.MANIFEST:
                (saved / manifest.MANIFEST).write_bytes(original)
            count += 1
        checkpoint.load(saved)
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        for name in ("model.safetensors", "recipe.yaml", "fields.json"):
            (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        files = dict.fromkeys(("model.safetensors", "recipe.yaml", "fields.json"), digest)
        (folder / "MANIFEST.json").write_text(json.dumps({"format_version": 1, "files": files}))
        with pytest.raises(SeqkitError):
            load_model(folder)
        (folder / "MANIFEST.json").write_bytes(content)
        with pytest.raises(SeqkitError):
            load_model(folder)
        count += 2
        task: Task = data.task
        for path in sorted((tmp_path / "cache").rglob("*")):
            if path.is_file():
                path.write_bytes(content)
                count += 1
        prepare(task, key={"small": "steps"}, cache=tmp_path / "cache")  # made again from the data
    assert count > 60
    assert not canary.exists()


AUDIT = """
import sys
events = []
def watch(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.fork", "os.exec", "os.posix_spawn", "os.system")):
        events.append(event)
sys.addaudithook(watch)
import seqkit, seqkit.readers, seqkit.metrics, seqkit.spans, seqkit.recipe, seqkit.cli
import seqkit.heads, seqkit.encoders, seqkit.fields, seqkit.data.store
print(events, "torch" in sys.modules)
import seqkit.testing, seqkit.training.loop, seqkit.experiments.run_recipe
print([event for event in events if event.startswith("socket.")])
"""


def test_importing_opens_no_socket_and_starts_no_process() -> None:
    result = subprocess.run([sys.executable, "-c", AUDIT], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["[] False", "[]"]
