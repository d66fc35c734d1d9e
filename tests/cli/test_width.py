"""What a verb prints fits a terminal of 80 columns, and stays one line for each thing where it is read by programs."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit.cli import main


def run_in_terminal(arguments: list[str], folder: Path, columns: int) -> list[str]:
    """The lines that a terminal of this width shows, without what it is told to move or colour."""
    reader, writer = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "SEQKIT_CACHE": str(folder / "cache")}
    process = subprocess.Popen(
        [sys.executable, "-m", "seqkit", *arguments], cwd=folder, stdout=writer, stderr=writer, env=environment
    )
    os.close(writer)
    output = b""
    while True:
        try:
            piece = os.read(reader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        output += piece
    os.close(reader)
    process.wait()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    return [line for line in re.split(r"[\r\n]+", text) if line.strip()]


@pytest.mark.parametrize(
    "command",
    [
        "recipes list",
        "tasks",
        "plugins list",
        "doctor",
    ],
)
def test_it_fits_80_columns(tmp_path: Path, command: str) -> None:
    lines = run_in_terminal(command.split(), tmp_path, 80)
    assert len(lines) > 4
    is_path = re.compile(r"(\w+ +[\w ]+:|[\d.]+ in)? *\S+$")  # which is not broken
    assert [line for line in lines if len(line) > 80 and not is_path.match(line)] == []


def test_a_long_text_goes_on_below_itself(tmp_path: Path) -> None:
    lines = run_in_terminal(["recipes", "list"], tmp_path, 60)
    start = next(index for index, line in enumerate(lines) if line.startswith("genome-splice "))
    column = lines[start].index("The ends")
    assert lines[start + 1][:column].strip() == ""
    assert lines[start + 1][column] != " "
    assert max(map(len, lines)) <= 60


@pytest.mark.parametrize("command", ["recipes list", "tasks", "plugins list"])
def test_programs_get_a_line_for_each(command: str) -> None:
    rows = CliRunner().invoke(main, [*command.split(), "--json"]).stdout.count('"name"')
    header = command == "plugins list"
    assert len(CliRunner().invoke(main, command.split()).stdout.splitlines()) == rows + header
