"""The facts about the environment of a run: by allow-list, and without running programs of a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from seqkit.runtime.environment import _version_and_requirements, differences, environment, git, packages


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_git_facts_are_the_commit_and_whether_it_is_dirty(tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    assert git() is None
    call("init", "-q", ".")
    Path("file").write_text("one")
    call("add", "file")
    call("commit", "-q", "-m", "first")
    commit = call("rev-parse", "HEAD")
    assert git() == {"commit": commit, "dirty": False}
    Path("file").write_text("two")
    assert git() == {"commit": commit, "dirty": True}


def test_a_checkout_runs_no_programs(tmp_path: Path) -> None:
    """The configuration of a checkout can name programs; asking for its state must not start them."""
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "-q", "."], check=True)
    Path("file").write_text("one")
    Path(".gitattributes").write_text("* filter=evil\n")
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "-m", "first"], check=True)
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process"):
        subprocess.run(["git", "config", key, f"touch {tmp_path}/canary; cat"], check=True)
    Path("file").write_text("two")
    facts = git()
    assert facts is not None
    assert facts["dirty"] is None
    assert not (tmp_path / "canary").exists()
    # The control: git itself does run it.
    subprocess.run(["git", "status"], check=False, capture_output=True)
    assert (tmp_path / "canary").exists()


def test_only_listed_variables_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "s3cr3t")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SEQKIT_DATA", "https://me:s3cr3t@host/x")
    facts = environment()
    assert facts["variables"]["OMP_NUM_THREADS"] == "3"
    assert facts["variables"]["SEQKIT_DATA"] == "https://***@host/x"
    assert "s3cr3t" not in repr(facts)


def test_packages_are_those_that_a_number_may_depend_on() -> None:
    versions = packages()
    assert {"seqkit", "torch", "numpy", "sympy"} <= set(versions), "direct and indirect"
    assert not {"pytest", "ruff", "mypy", "hypothesis"} & set(versions)
    assert packages("no-such-distribution") == {}


def test_packages_are_as_importlib_reads_them() -> None:
    """The header is parsed without the description: for every distribution here the result is that of importlib."""
    for distribution in metadata.distributions():
        expected = distribution.version, distribution.requires or []
        assert _version_and_requirements(distribution) == expected, distribution.name


def test_packages_are_read_once_until_one_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(name: str, version: str, *lines: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        header = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines]
        (folder / "METADATA").write_text("\n".join([*header, "", "Requires-Dist: only-in-the-description"]))
        os.utime(tmp_path, ns=(next(times), next(times)))  # two installs within one tick of the clock

    times = iter(range(10**9, 10**18, 10**9))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    install("first-of-two", "1.5", "Requires-Dist: second-of-two; extra == 'more'")
    assert packages("first-of-two") == {"first-of-two": "1.5"}
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "distribution", None)
        assert packages("first-of-two") == {"first-of-two": "1.5"}
    install("second-of-two", "2")
    assert packages("first-of-two") == {"first-of-two": "1.5", "second-of-two": "2"}


def test_differences_name_what_changed() -> None:
    before = {"a": 1, "b": {"c": 2, "gone": 1}, "same": [1]}
    now = {"a": 1, "b": {"c": 3}, "same": [1], "new": "x"}
    assert differences(before, now) == ["b.c: 2 -> 3", "b.gone: 1 -> None", "new: None -> x"]
    assert differences(before, before) == []


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git() is None


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, seqkit.runtime.environment; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
