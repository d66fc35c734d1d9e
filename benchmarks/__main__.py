"""`python -m benchmarks`: measure, print, and write the JSON that docs/benchmarks.md is made from."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from pathlib import Path

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
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.groups) - set(GROUPS))
    if unknown:
        parser.error(f"there is no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if os.getloadavg()[0] > 0.5 * len(os.sched_getaffinity(0)):
        print("this machine is busy: the figures will be off", file=sys.stderr)
    report = {"groups": {}}
    if options.json and options.json.exists():
        report = json.loads(options.json.read_text())
    pythons = default_pythons()
    for name in options.groups or GROUPS:
        group = load_group(name)
        chosen = [
            case for case in group.cases if case.name.startswith(options.case) and (options.case or not case.on_request)
        ]
        group = type(group)(**{**vars(group), "cases": chosen})
        machine = facts(options.threads, shlex.join(["python", "-m", "benchmarks", name]), pythons)
        group_report = run_group(group, quick=options.quick, threads=options.threads, pythons=pythons, say=print)
        if options.case:  # the other cases, measured before, stay
            measured_before = report["groups"].get(name, {}).get("cases", [])
            by_name = {case["name"]: case for case in [*measured_before, *group_report["cases"]]}
            order = [case.name for case in load_group(name).cases]
            group_report["cases"] = sorted(by_name.values(), key=lambda case: order.index(case["name"]))
            if measured_before and group.derive:
                group_report["derived"] = dict(group.derive(group_report["cases"]))
        report["groups"][name] = {"machine": machine, "quick": options.quick, **group_report}
        report["groups"] = {name: report["groups"][name] for name in GROUPS if name in report["groups"]}
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
