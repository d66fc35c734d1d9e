"""`seqkit doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from seqkit.errors import UsageError

PATIENCE = 5.0
"""Seconds that a plugin's import may stand still."""


@dataclass(frozen=True, slots=True)
class InstallationIssue:
    """One thing looked at. `bad` makes the exit code 1; `note` is worth knowing and nothing more."""

    about: str
    state: Literal["ok", "note", "bad"]
    said: str


@click.command("doctor", short_help="Look for what is wrong with this installation.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Look for what is wrong with this installation, and leave with 1 if something is.

    Looks at versions, torch, extras, plugins (each is imported in a process of its own), another program called
    seqkit on PATH, and where data and caches lie.
    """
    found = []
    for look in (versions, torch_build, extras, plugins, program, folders):
        for finding in look():
            found.append(finding)
            if not as_json:
                click.echo(f"{finding.state:<4}  {finding.about}: {finding.said}")
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=1, ensure_ascii=False))
    if any(finding.state == "bad" for finding in found):
        ctx.exit(1)


def versions() -> Iterator[InstallationIssue]:
    """seqkit, Python, and whether the metadata tell of the code that runs."""
    from seqkit._version import __version__

    here = Path(__file__).resolve().parents[1]
    yield InstallationIssue("python", "ok", f"{sys.version.split()[0]} in {sys.prefix}")
    try:
        installed = importlib.metadata.version("seqkit")
    except importlib.metadata.PackageNotFoundError:
        said = f"{__version__} in {here} is not installed, so no task, encoder or head is known; pip install it"
        yield InstallationIssue("seqkit", "bad", said)
        return
    if installed != __version__:
        said = f"the code in {here} is {__version__}, the installed metadata say {installed}; install it again"
        yield InstallationIssue("seqkit", "bad", said)
    else:
        yield InstallationIssue("seqkit", "ok", f"{__version__} in {here}")


def torch_build() -> Iterator[InstallationIssue]:
    """Which torch, how many threads, which GPU."""
    try:
        import torch
    except Exception as error:  # a broken build raises whatever the loader raises
        yield InstallationIssue("torch", "bad", f"does not import: {' '.join(str(error).split())}")
        return
    yield InstallationIssue("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads, {_cores()} cores")
    yield recurrence()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())]
        yield InstallationIssue("gpu", "ok", f"{', '.join(names)}; CUDA {torch.version.cuda}")
    else:
        why = "this torch is built without CUDA" if torch.version.cuda is None else "torch sees none"
        yield InstallationIssue("gpu", "note", f"none: {why}")


def recurrence() -> InstallationIssue:
    """What recurrent layers run on."""
    import torch
    from torch import nn

    from seqkit import kernels
    from seqkit.runtime import native_library

    try:
        dispatch = kernels.choose(nn.LSTM(1, 1), torch.device("cpu"), torch.float32)
    except UsageError as error:
        return InstallationIssue("recurrence", "bad", str(error))
    missing = native_library.requested_by_environment() == "auto" and dispatch.name == "padded"
    return InstallationIssue("recurrence", "note" if missing else "ok", f"on cpu: {dispatch.name} ({dispatch.reason})")


def extras() -> Iterator[InstallationIssue]:
    """Each extra of seqkit: there, or the command that installs it."""
    wanted: dict[str, list[str]] = {}
    try:
        lines = importlib.metadata.requires("seqkit") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for line in lines:
        match = re.match(r"([A-Za-z0-9._-]+)[^;]*;.*extra *== *['\"]([\w-]+)['\"]", line)
        # `all` is made of the others, and `dev` is for seqkit's own developers.
        if match and match[2] != "dev" and not line.lower().startswith("seqkit"):
            wanted.setdefault(match[2], []).append(match[1])
    for extra, names in wanted.items():
        missing = [name for name in names if not _has(name)]
        if missing:
            yield InstallationIssue(
                f"extra {extra}", "note", f'not there ({", ".join(missing)}): pip install "seqkit[{extra}]"'
            )
        else:
            have = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
            yield InstallationIssue(f"extra {extra}", "ok", have)


def plugins(patience: float = PATIENCE) -> Iterator[InstallationIssue]:
    """Every plugin, imported where it can do no harm, as `seqkit plugins doctor` does it."""
    from seqkit.plugin_tools.probe import probe
    from seqkit.registry import registry

    for report in probe(registry.installed(), patience=patience):
        plugin = report.plugin
        said = "; ".join(str(remark) for remark in report.remarks)
        state: Literal["ok", "note", "bad"] = "note" if report.state == "missing" else report.state
        yield InstallationIssue(
            f"{plugin.kind} {plugin.full_name}",
            state,
            said or f"{plugin.distribution} {plugin.version}, {plugin.value}",
        )


def program(which: Callable[[str], str | None] = shutil.which) -> Iterator[InstallationIssue]:
    """Is the `seqkit` that the shell finds this one? There is a well-known FASTA tool of the same name."""
    own = Path(sysconfig.get_path("scripts")) / "seqkit"
    found = which("seqkit")
    if found is None:
        yield InstallationIssue("program", "note", f"no seqkit is on PATH; use {sys.executable} -m seqkit")
    elif Path(found).absolute() == own.absolute() or (own.exists() and Path(found).resolve() == own.resolve()):
        yield InstallationIssue("program", "ok", found)
    else:
        mine = f"this one is {own}" if own.exists() else "this one has no program"
        said = f"the shell's seqkit is {found}, another program; {mine}; `{sys.executable} -m seqkit` always works"
        yield InstallationIssue("program", "bad", said)


def folders() -> Iterator[InstallationIssue]:
    """Where data is looked for and where caches are written."""
    from seqkit.io.cache import cache_folder

    data = os.environ.get("SEQKIT_DATA")
    if data is None:
        yield InstallationIssue("SEQKIT_DATA", "note", "not set: named datasets are taken from the cache or downloaded")
    elif Path(data).is_dir():
        yield InstallationIssue("SEQKIT_DATA", "ok", data)
    else:
        yield InstallationIssue("SEQKIT_DATA", "bad", f"'{data}' is no folder; set it to one, or unset it")
    cache = cache_folder()
    there = next(each for each in (cache, *cache.absolute().parents) if each.exists())
    if not os.access(there, os.W_OK) or not there.is_dir():
        yield InstallationIssue("cache", "bad", f"{cache} cannot be written; set SEQKIT_CACHE to a folder that can")
    else:
        yield InstallationIssue("cache", "ok", f"{cache} ({shutil.disk_usage(there).free / 2**30:.0f} GiB free)")


def _has(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
