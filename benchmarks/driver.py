"""Runs groups: starts the contenders' processes, compares what they compute, and interleaves their rounds."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.frame import SHARED_FOLDER, Case, Contender, Group

QUICK_ROUNDS = 3

Say = Callable[[str], None]
Keep = Callable[[dict[str, Any]], None]


class Process:
    """A contender's process, which answers one JSON line for each that it is given.

    Args:
        folder: for what the contenders of a group share, such as a trained model; they find it as `SHARED_FOLDER`.
    """

    def __init__(self, group: Group, contender: Contender, python: str, threads: int, folder: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        environment[SHARED_FOLDER] = folder
        self.contender = contender
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115  closed in `close`
        self._child = subprocess.Popen(
            [python, "-m", "benchmarks.worker", group.name, contender.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[1],
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._errors.seek(0)
            last = self._errors.read().strip().splitlines()[-1:] or ["no word"]
            return {"failed": f"the process ended: {last[0]}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._errors.close()


def run_group(
    group: Group, *, quick: bool, threads: int, pythons: Sequence[str], say: Say, keep: Keep = lambda report: None
) -> dict[str, Any]:
    """Every case of a group by every contender that is there; plain JSON.

    Args:
        pythons: interpreters to look for a contender's modules in; the first that has them runs it.
        keep: gets the group's report after each case, with the cases measured so far.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        return _run_group(group, folder, quick=quick, threads=threads, pythons=pythons, say=say, keep=keep)


def _run_group(
    group: Group, folder: str, *, quick: bool, threads: int, pythons: Sequence[str], say: Say, keep: Keep
) -> dict[str, Any]:
    missing: dict[str, str] = {}
    processes = []
    for contender in group.contenders:
        python = next((python for python in pythons if has(python, contender.needs)), None)
        if python is None:
            missing[contender.name] = f"{', '.join(contender.needs)} not installed"
            say(f"{group.name}: {contender.name} is left out: {missing[contender.name]}")
        else:
            processes.append(Process(group, contender, python, threads, folder))
    cases = []
    try:
        for case in group.cases:
            if quick and not (case.quick or case.on_request):
                continue
            if quick:
                case = dataclasses.replace(case, options={**case.options, **case.quick_options})
            taking_part = [
                process for process in processes if not process.contender.only or case.name in process.contender.only
            ]
            result = run_case(group, case, taking_part, rounds=QUICK_ROUNDS if quick else group.rounds)
            cases.append(result)
            say(line_of(group, result))
            keep(_report(group, missing, cases, {}))
    finally:
        for process in processes:
            process.close()
    derived = dict(group.derive(cases)) if group.derive else {}
    for name, value in derived.items():
        say(f"{group.name}: {name}: {value}")
    return _report(group, missing, cases, derived)


def _report(
    group: Group, missing: Mapping[str, str], cases: Sequence[Mapping[str, Any]], derived: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": group.name,
        "about": group.about,
        "ours": group.contenders[0].name,
        "yardsticks": [contender.name for contender in group.contenders if contender.yardstick],
        "missing": dict(missing),
        "targets": [vars(target) for target in group.targets],
        "limits": [vars(limit) for limit in group.limits],
        "cases": list(cases),
        "derived": dict(derived),
    }


def run_case(group: Group, case: Case, processes: Sequence[Process], *, rounds: int) -> dict[str, Any]:
    """Prepare, compare, warm up, and run the rounds in alternating order."""
    results: dict[str, dict[str, Any]] = {}
    notes: dict[str, Any] = {}
    ready: list[Process] = []
    expected: Mapping[str, Any] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for process in processes:
            name = process.contender.name
            answer = process.ask(do="prepare", options=dict(case.options))
            if "failed" not in answer:
                notes = {**answer["notes"], **notes}
                results[name] = {"notes": answer["notes"]}
                path = Path(folder) / f"{len(results)}.npz"
                answer = process.ask(do="compute", path=str(path))
            if "failed" in answer:
                results[name] = {"failed": answer["failed"]}
                continue
            if answer["saved"]:
                outputs = dict(np.load(path, allow_pickle=False))
                if expected is None:
                    expected = outputs
                else:
                    difference = distance(expected, outputs)
                    results[name]["apart"] = difference
                    if not difference <= group.tolerance:
                        results[name] = {"failed": f"computes something else: {difference:.1e} apart; not timed"}
                        continue
            ready.append(process)
    for process in list(ready):
        first = process.ask(do="run")
        if "failed" in first:
            results[process.contender.name] = {"failed": first["failed"]}
            ready.remove(process)
        else:
            results[process.contender.name] |= {"first": first["seconds"], "seconds": []}
    for number in range(rounds):
        for process in ready if number % 2 == 0 else reversed(ready):
            answer = process.ask(do="run")
            results[process.contender.name]["seconds"].append(answer.get("seconds", float("nan")))
            results[process.contender.name]["peak_mib"] = answer.get("peak_mib")
    ours = results.get(group.contenders[0].name, {})
    for result in results.values():
        if "seconds" in result:
            result["median"] = median(result["seconds"])
            if "seconds" in ours:
                ratios = [
                    seconds / our_seconds
                    for seconds, our_seconds in zip(result["seconds"], ours["seconds"], strict=True)
                ]
                result["ratio"] = [median(ratios), min(ratios), max(ratios)]
    return {"name": case.name, "options": dict(case.options), "notes": notes, "results": results}


def distance(expected: Mapping[str, Any], outputs: Mapping[str, Any]) -> float:
    """The largest difference between arrays of the same name, relative to the largest number of each."""
    largest = 0.0
    for name in expected.keys() & outputs.keys():
        if expected[name].shape != outputs[name].shape:
            return float("inf")
        size = max(1e-6, float(np.abs(expected[name]).max(initial=0.0)))
        difference = float(np.abs(expected[name].astype(np.float64) - outputs[name]).max(initial=0.0)) / size
        if not np.isfinite(difference):
            return float("inf")
        largest = max(largest, difference)
    return largest if expected.keys() & outputs.keys() else float("inf")


def has(python: str, modules: Sequence[str]) -> bool:
    """Whether this interpreter finds these modules."""
    if not modules:
        return True
    code = "import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in sys.argv[1:]))"
    return subprocess.run([python, "-c", code, *modules], capture_output=True, check=False).returncode == 0


def line_of(group: Group, case: Mapping[str, Any]) -> str:
    items = []
    for name, result in case["results"].items():
        if "failed" in result:
            items.append(f"{name}: {result['failed']}")
        else:
            ratio = f" ({result['ratio'][0]:.2f} of ours)" if "ratio" in result and items else ""
            items.append(f"{name} {result['median'] * 1e3:.4g} ms{ratio}")
    notes = case["notes"]
    padding = f" ({1 - notes['tokens'] / notes['padded']:.0%} padding)" if notes.get("padded") else ""
    return f"{group.name} {case['name']}{padding}: " + "; ".join(items)


def default_pythons() -> list[str]:
    """This interpreter, and those in SEQKIT_PEERS, if that is set (several with colons between them)."""
    return [sys.executable, *filter(None, os.environ.get("SEQKIT_PEERS", "").split(os.pathsep))]
