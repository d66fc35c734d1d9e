"""`python -m benchmarks`: measure, print, and write the JSON that docs/benchmarks.md is made from."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.driver import default_pythons, run_group
from benchmarks.frame import GROUPS, load_group
from benchmarks.machine import facts


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"one or more of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="few cases and rounds, to see that everything runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures; groups already in FILE are kept")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of each contender")
    parser.add_argument("--case", default="", help="only cases whose name starts like this")
    parser.add_argument("--missing", action="store_true", help="only cases that FILE has no figures of")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.groups) - set(GROUPS))
    if unknown:
        parser.error(f"there is no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if options.missing and not options.json:
        parser.error("--missing needs --json FILE")
    if os.getloadavg()[0] > 0.5 * len(os.sched_getaffinity(0)):
        print("this machine is busy: the figures will be off", file=sys.stderr)
    report: dict[str, Any] = {"groups": {}}
    if options.json and options.json.exists():
        report = json.loads(options.json.read_text())
    for name in options.groups or GROUPS:
        _measure(name, options, report)
    return 0


def _measure(name: str, options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Run the chosen cases of a group. What is measured so far is written after each case."""
    every_case = load_group(name).cases
    before = report["groups"].get(name, {}) if options.case or options.missing else {}
    measured_before = before.get("cases", [])
    names_before = {case["name"] for case in measured_before}
    chosen = [
        case
        for case in every_case
        if case.name.startswith(options.case)
        and (options.case or not case.on_request)
        and not (options.missing and case.name in names_before)
    ]
    group = replace(load_group(name), cases=chosen)
    pythons = default_pythons()
    machine = facts(options.threads, shlex.join(["python", "-m", "benchmarks", name]), pythons)
    order = [case.name for case in every_case]
    due = {case.name for case in chosen if case.quick or not options.quick} | {*before.get("not_measured", ())}

    def keep(measured: Mapping[str, Any]) -> None:
        by_name = {case["name"]: case for case in [*measured_before, *measured["cases"]]}
        cases = sorted(by_name.values(), key=lambda case: order.index(case["name"]))
        not_measured = [case for case in order if case in due and case not in by_name]
        more = {"cases": cases, "not_measured": not_measured}
        if group.derive and measured_before and not not_measured:
            more["derived"] = dict(group.derive(cases))
        report["groups"][name] = {"machine": machine, "quick": options.quick, **measured, **more}
        report["groups"] = {name: report["groups"][name] for name in GROUPS if name in report["groups"]}
        if options.json:
            _write(options.json, json.dumps(report, indent=1) + "\n")

    keep(run_group(group, quick=options.quick, threads=options.threads, pythons=pythons, say=print, keep=keep))


def _write(path: Path, text: str) -> None:
    """In one step: a run that is interrupted loses nothing that was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
