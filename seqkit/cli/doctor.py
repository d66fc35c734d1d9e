"""`seqkit doctor`: problems of this installation, and what to do about them."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from seqkit.cli.options import JSON_LIST
from seqkit.cli.output import echo_json, echo_wrapped
from seqkit.errors import UsageError

PATIENCE = 5.0
"""Seconds after which a plugin's import that does not proceed is ended."""


@dataclass(frozen=True, slots=True)
class InstallationIssue:
    """The result of one check. `bad` makes the exit code 1; a `note` is worth knowing, but not a problem."""

    about: str
    level: Literal["ok", "note", "bad"]
    message: str

    def facts(self) -> dict[str, str]:
        """As JSON."""
        return {"about": self.about, "state": self.level, "said": self.message}


@click.command("doctor")
@JSON_LIST
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Look for problems of this installation; exit with 1 if one is bad.

    Checks versions, torch, extras, plugins (each is imported in a process of its own), whether another program called
    seqkit is on PATH, and the folders of data and caches.
    """
    issues = []
    for check in (check_versions, check_torch, check_extras, check_plugins, check_program, check_folders):
        for issue in check():
            issues.append(issue)
            if not as_json:
                echo_wrapped(f"{issue.level:<4}  {issue.about}: {issue.message}", indent=8)
    if as_json:
        echo_json([issue.facts() for issue in issues])
    if any(issue.level == "bad" for issue in issues):
        ctx.exit(1)


def check_versions() -> Iterator[InstallationIssue]:
    """Python, seqkit, and whether the installed metadata belong to the code that runs."""
    from seqkit._version import __version__

    folder = Path(__file__).resolve().parents[1]
    yield InstallationIssue("python", "ok", f"{sys.version.split()[0]} in {sys.prefix}")
    try:
        installed = importlib.metadata.version("seqkit")
    except importlib.metadata.PackageNotFoundError:
        message = f"{__version__} in {folder} is not installed, so no task, encoder or head is known; pip install it"
        yield InstallationIssue("seqkit", "bad", message)
        return
    if installed != __version__:
        message = f"the code in {folder} is {__version__}, the installed metadata say {installed}; install it again"
        yield InstallationIssue("seqkit", "bad", message)
    else:
        yield InstallationIssue("seqkit", "ok", f"{__version__} in {folder}")


def check_torch() -> Iterator[InstallationIssue]:
    """The version of torch, its threads, what recurrent layers run on, and the GPUs."""
    from seqkit.runtime.machine import usable_cores

    try:
        import torch
    except Exception as error:  # a broken build raises whatever the loader raises
        yield InstallationIssue("torch", "bad", f"does not import: {' '.join(str(error).split())}")
        return
    threads = f"{torch.get_num_threads()} threads, {usable_cores()} cores"
    yield InstallationIssue("torch", "ok", f"{torch.__version__}, {threads}")
    yield check_recurrence()
    yield check_bf16()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield InstallationIssue("gpu", "ok", f"{', '.join(names)}; CUDA {torch.version.cuda}")
        yield check_recurrence("cuda")
        yield from check_kernels()
    else:
        why = "this torch is built without CUDA" if torch.version.cuda is None else "torch sees none"
        yield InstallationIssue("gpu", "note", f"none: {why}")


def check_recurrence(device: Literal["cpu", "cuda"] = "cpu") -> InstallationIssue:
    """The implementation that recurrent layers run on."""
    import torch
    from torch import nn

    from seqkit import kernels
    from seqkit.runtime import native_library

    try:
        dispatch = kernels.choose(nn.LSTM(1, 1), torch.device(device), torch.float32)
    except UsageError as error:
        return InstallationIssue("recurrence", "bad", str(error))
    missing = device == "cpu" and native_library.requested_by_environment() == "auto" and dispatch.name == "padded"
    message = f"on {device}: {dispatch.name} ({dispatch.reason})"
    return InstallationIssue("recurrence", "note" if missing else "ok", message)


def check_bf16() -> InstallationIssue:
    """What multiplies states in bf16 on the CPU."""
    from seqkit import kernels

    description = kernels.describe_bf16()
    return InstallationIssue("bf16", "bad" if "please report" in description else "ok", f"on cpu: {description}")


def check_kernels() -> Iterator[InstallationIssue]:
    """What random fields, CTC and dropout run on on a GPU. Kernels in Triton are compared with torch's operations."""
    import torch

    from seqkit.heads.kernel_choices import kernel_choices

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the same is said here
        try:
            choices = kernel_choices(torch.device("cuda", torch.cuda.current_device()))
        except UsageError as error:
            yield InstallationIssue("kernels", "bad", str(error))
            return
    for name, choice in choices.items():
        yield InstallationIssue(name, "ok" if choice.is_triton else "note", f"on cuda: {choice}")


def check_extras() -> Iterator[InstallationIssue]:
    """Whether each extra of seqkit is installed, or else the command that installs it."""
    requirements: dict[str, list[str]] = {}
    try:
        lines = importlib.metadata.requires("seqkit") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)[^;]*;.*extra *== *['\"]([\w-]+)['\"]", line)
        # `all` is made of the others, and `dev` is for seqkit's own developers.
        if match and match[2] != "dev" and not line.lower().startswith("seqkit"):
            requirements.setdefault(match[2], []).append(match[1])
    for extra, names in requirements.items():
        missing = [name for name in names if not _is_installed(name)]
        if missing:
            message = f'not installed ({", ".join(missing)}): pip install "seqkit[{extra}]"'
            yield InstallationIssue(f"extra {extra}", "note", message)
        else:
            versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
            yield InstallationIssue(f"extra {extra}", "ok", versions)


def check_plugins(patience: float = PATIENCE) -> Iterator[InstallationIssue]:
    """Every plugin, imported in a process of its own, as `seqkit plugins doctor` does it."""
    from seqkit.plugin_tools.probe import probe
    from seqkit.registry import registry

    for report in probe(registry.installed(), patience=patience):
        plugin = report.plugin
        remarks = "; ".join(str(remark) for remark in report.remarks)
        level: Literal["ok", "note", "bad"] = "note" if report.level == "missing" else report.level
        message = remarks or f"{plugin.distribution} {plugin.version}, {plugin.value}"
        yield InstallationIssue(f"{plugin.kind} {plugin.full_name}", level, message)


def check_program(which: Callable[[str], str | None] = shutil.which) -> Iterator[InstallationIssue]:
    """Whether the `seqkit` that the shell finds is this one: a well-known FASTA tool has the same name."""
    script = Path(sysconfig.get_path("scripts")) / "seqkit"
    on_path = which("seqkit")
    python = shlex.quote(sys.executable)
    if on_path is None:
        yield InstallationIssue("program", "note", f"no seqkit is on PATH; use {python} -m seqkit")
    elif Path(on_path).absolute() == script.absolute() or (
        script.exists() and Path(on_path).resolve() == script.resolve()
    ):
        yield InstallationIssue("program", "ok", on_path)
    else:
        this = f"this one is {script}" if script.exists() else "this one has no program"
        message = f"the shell's seqkit is {on_path}, another program; {this}; `{python} -m seqkit` always works"
        yield InstallationIssue("program", "bad", message)


def check_folders() -> Iterator[InstallationIssue]:
    """The folders where data is looked for and where caches are written."""
    from seqkit.io.cache import cache_folder, folder_from

    data = folder_from("SEQKIT_DATA")
    if data is None:
        yield InstallationIssue("SEQKIT_DATA", "note", "not set: named datasets are taken from the cache or downloaded")
    elif data.is_dir():
        yield InstallationIssue("SEQKIT_DATA", "ok", str(data))
    else:
        yield InstallationIssue("SEQKIT_DATA", "bad", f"'{data}' is not a folder; set it to one, or unset it")
    cache = cache_folder()
    existing = next(folder for folder in (cache, *cache.absolute().parents) if folder.exists())
    if not os.access(existing, os.W_OK) or not existing.is_dir():
        yield InstallationIssue("cache", "bad", f"{cache} cannot be written; set SEQKIT_CACHE to a folder that can")
    else:
        yield InstallationIssue("cache", "ok", f"{cache} ({shutil.disk_usage(existing).free / 2**30:.0f} GiB free)")


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
