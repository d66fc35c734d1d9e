"""Campaigns of failures. Run it from the checkout: `python -m tests.faults kills --count 200`.

Each prints a summary and leaves with 1 if anything was not as promised. Everything happens in a temporary folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CAMPAIGNS = ("kills", "signals", "matrix", "stops", "power", "verify", "controls", "all", "sample")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("campaign", choices=CAMPAIGNS, help="all: everything in full; sample: some of each, for CI")
    parser.add_argument("--count", type=int, help="kills (default 200), signals (100) or power cuts (40)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--domains", help="comma-separated; default: all that can be run here")
    parser.add_argument("--json", type=Path, help="write everything here")
    parser.add_argument("--keep", type=Path, help="work in this new folder, and keep it")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from tests.faults import children

    scratch = children.scratch()
    work = given.keep or Path(scratch.name)
    work.mkdir(parents=True, exist_ok=True)
    try:
        children.prepare(work)
        return _run(given, work)
    finally:
        scratch.cleanup()


def _run(given: argparse.Namespace, work: Path) -> int:
    from tests.faults import certificates, controls, interrupts, kills, matrix, power, recipes, runs, stops

    domains = tuple(given.domains.split(",")) if given.domains else recipes.available()
    if missing := [name for name in recipes.DOMAINS if name not in domains]:
        print(f"left out: {', '.join(missing)}", file=sys.stderr)
    sample, everything = given.campaign == "sample", given.campaign in ("all", "sample")
    cases = {domain: runs.case(domain, work) for domain in domains}
    all_cases, results, failed = list(cases.values()), dict[str, Any](), 0

    def wanted(name: str) -> bool:
        return everything or given.campaign == name

    def carry_out(name: str, found: Any, summary: Callable[[list[Any]], str], good: Callable[[Any], bool]) -> None:
        nonlocal failed
        began, before, seen = time.monotonic(), _cpu(), []
        for each in found:
            seen.append(each)
            failed += not good(each)
            if not good(each):
                print(f"not as promised: {each}", file=sys.stderr, flush=True)
        print(f"== {name}\n{summary(seen)}")
        print(f"{time.monotonic() - began:.0f} s, {_cpu() - before:.0f} s of CPU\n", flush=True)
        results[name] = [dataclasses.asdict(each) for each in seen]

    def unharmed(each: Any) -> bool:
        return not each.problems

    if wanted("kills"):
        count = given.count or (20 if sample else 200)
        found = kills.campaign(all_cases, count, count // 4, seed=given.seed)
        carry_out("kills", found, kills.summary, unharmed)
    if wanted("signals"):
        count, stages = given.count or (8 if sample else 100), tuple(interrupts.STAGES)
        found = interrupts.campaign(all_cases, count, seed=given.seed, stages=stages[1:] if sample else stages)
        carry_out("signals", found, interrupts.summary, unharmed)
    if wanted("stops"):
        chosen, encoders = (domains[:1], ("gru",)) if sample else (domains, recipes.ENCODERS)
        found = (stop for case in stops.cases(work, chosen, encoders) for stop in stops.stops(case, seed=given.seed))
        carry_out("stops", found, stops.summary, unharmed)
    if wanted("power"):
        chosen_cases = all_cases[-1:] if sample else all_cases
        found = power.campaign(chosen_cases, given.count or (2 if sample else 40), seed=given.seed)
        carry_out("power", found, kills.summary, unharmed)
    if wanted("verify"):
        chosen, encoders = (domains[-2:-1], ("lstm",)) if sample else (domains, recipes.ENCODERS)
        found = certificates.certificates(work, chosen, encoders, kills=given.count or 5, seed=given.seed)
        carry_out("verify", found, certificates.summary, unharmed)
    if wanted("controls"):
        few = ("a random state is not restored", "a batch is skipped", "checkpoints are written in place")
        names = (*few, "folders are not synced", "verify-resume, a random state not restored") if sample else None
        found = controls.controls(cases["charlm"], kills_in_saves=3 if sample else 12, names=names)
        carry_out("controls", found, controls.summary, lambda control: control.good)
    if wanted("matrix") and not sample:
        carry_out("matrix", matrix.sweep(runs.case("waves", work)), matrix.table, unharmed)
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1, default=str) + "\n")
    shutil.rmtree(work / "recipes", ignore_errors=True)
    print(f"{failed} not as promised" if failed else "everything as promised")
    return 1 if failed else 0


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    sys.exit(main())
