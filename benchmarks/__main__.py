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
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.groups) - set(GROUPS))
    if unknown:
        parser.error(f"there is no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if os.getloadavg()[0] > 0.5 * len(os.sched_getaffinity(0)):
        print("this machine is busy: the figures will be off", file=sys.stderr)
    report = {"groups": {}}
    if given.json and given.json.exists():
        report = json.loads(given.json.read_text())
    pythons = default_pythons()
    for name in given.groups or GROUPS:
        group = load_group(name)
        chosen = [case for case in group.cases if case.name.startswith(given.case) and (given.case or not case.asked)]
        group = type(group)(**{**vars(group), "cases": chosen})
        machine = facts(given.threads, shlex.join(["python", "-m", "benchmarks", name]), pythons)
        found = run_group(group, quick=given.quick, threads=given.threads, pythons=pythons, say=print)
        if given.case:  # the other cases, measured before, stay
            before = report["groups"].get(name, {}).get("cases", [])
            fresh = {case["name"]: case for case in [*before, *found["cases"]]}
            order = [case.name for case in load_group(name).cases]
            found["cases"] = sorted(fresh.values(), key=lambda case: order.index(case["name"]))
        report["groups"][name] = {"machine": machine, "quick": given.quick, **found}
        report["groups"] = {each: report["groups"][each] for each in GROUPS if each in report["groups"]}
        if given.json:
            given.json.parent.mkdir(parents=True, exist_ok=True)
            given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
