"""Completion by the Tab key, in a real bash, with the line that the README shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.pages import PAGES, rows

LINE = rows(PAGES["README.md"], "| shell | line | in |")[0][1].strip("`")

CASES = {
    "seqkit ev": ["evaluate"],
    "seqkit p": ["predict", "plan", "prove", "plugins"],
    "seqkit evaluate --d": ["--data", "--device"],
    "seqkit evaluate . --device c": ["cpu", "cuda"],
    "seqkit run genome-e": ["genome-enhancers", "genome-enhancers-strength"],
    "seqkit recipes show speech-d": ["speech-digit-strings", "speech-digits", "speech-digits-speaker"],
    "seqkit plugins ": ["check", "doctor", "info", "list", "new"],
    "seqkit run no-such-recipe": [],
}

SCRIPT = """
words=("$@"); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_seqkit_completion seqkit "${words[COMP_CWORD]}" "" 2>/dev/null  # outside a prompt, bash refuses `compopt`
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("typed", CASES)
def test_bash_completes(tmp_path: Path, typed: str) -> None:
    program = tmp_path / "seqkit"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m seqkit "$@"\n')
    program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", f"{LINE}\n{SCRIPT}", "bash", *typed.split(" ")]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert result.stdout.split() == CASES[typed], result.stderr
