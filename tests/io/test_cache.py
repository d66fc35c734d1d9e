"""Folders that environment variables and options name: a leading `~` is the home folder."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from seqkit.cli.options import UserPath
from seqkit.io.cache import cache_folder, folder_from
from seqkit.runtime.native_library import library_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("value", "folder"), [("~", "."), ("~/a/b", "a/b"), ("/x/~y", "/x/~y"), ("a~", None), ("./~", None)]
)
def test_a_tilde_in_front_is_the_home_folder(
    value: str, folder: str | None, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQKIT_DATA", value)
    assert folder_from("SEQKIT_DATA") == (Path(value) if folder is None else home / folder)


@pytest.mark.parametrize("value", ["", None])
def test_a_variable_that_is_not_set_names_no_folder(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEQKIT_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("SEQKIT_DATA", value)
    assert folder_from("SEQKIT_DATA") is None


def test_the_caches_are_in_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", "~/cache")
    monkeypatch.delenv("SEQKIT_NATIVE", raising=False)
    assert cache_folder() == home / "cache"
    assert library_folder() == home / "cache" / "native"
    monkeypatch.setenv("SEQKIT_NATIVE", "~/native")
    assert library_folder() == home / "native"
    monkeypatch.delenv("SEQKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert cache_folder() == home / "xdg" / "seqkit"


def test_an_option_expands_it_too(home: Path) -> None:
    @click.command()
    @click.option("--out", type=UserPath())
    def command(out: Path) -> None:
        click.echo(out)

    assert CliRunner().invoke(command, ["--out=~/runs/a"]).output == f"{home}/runs/a\n"
