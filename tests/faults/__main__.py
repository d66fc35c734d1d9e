"""Campaigns of failures. Run it from the checkout: `python -m tests.faults kills --count 200`.

Each prints a summary and exits with 1 if a run did not behave as documented. Everything is in a temporary folder.
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
    parser.add_argument("--json", type=Path, help="write all results to this file")
    parser.add_argument("--keep", type=Path, help="work in this new folder, and keep it")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from tests.faults import children

    scratch = children.scratch()
    work = options.keep or Path(scratch.name)
    work.mkdir(parents=True, exist_ok=True)
    try:
        children.prepare(work)
        return _run(options, work)
    finally:
        scratch.cleanup()


def _run(options: argparse.Namespace, work: Path) -> int:
    from tests.faults import certificates, controls, interrupts, kills, matrix, power, recipes, runs, stops

    domains = tuple(options.domains.split(",")) if options.domains else recipes.available()
    if missing := [name for name in recipes.DOMAINS if name not in domains]:
        print(f"left out: {', '.join(missing)}", file=sys.stderr)
    sample, run_all = options.campaign == "sample", options.campaign in ("all", "sample")
    cases = {domain: runs.case(domain, work) for domain in domains}
    all_cases, results, failed = list(cases.values()), dict[str, Any](), 0

    def is_selected(name: str) -> bool:
        return run_all or options.campaign == name

    def carry_out(name: str, attempts: Any, summary: Callable[[list[Any]], str], passed: Callable[[Any], bool]) -> None:
        nonlocal failed
        start, cpu_before, finished = time.monotonic(), _cpu_seconds(), []
        for attempt in attempts:
            finished.append(attempt)
            failed += not passed(attempt)
            if not passed(attempt):
                print(f"not as documented: {attempt}", file=sys.stderr, flush=True)
        print(f"== {name}\n{summary(finished)}")
        tried = [attempt for attempt in finished if getattr(attempt, "was_tried", True)]
        print(f"result: {name}: {sum(map(passed, tried)):,} of {len(tried):,} as documented")
        print(f"{time.monotonic() - start:.0f} s, {_cpu_seconds() - cpu_before:.0f} s of CPU\n", flush=True)
        results[name] = [dataclasses.asdict(attempt) for attempt in finished]

    def has_no_problems(attempt: Any) -> bool:
        return not attempt.problems

    if is_selected("kills"):
        count = options.count or (20 if sample else 200)
        attempts = kills.campaign(all_cases, count, count // 4, seed=options.seed)
        carry_out("kills", attempts, kills.summary, has_no_problems)
    if is_selected("signals"):
        count, stages = options.count or (8 if sample else 100), tuple(interrupts.STAGES)
        attempts = interrupts.campaign(all_cases, count, seed=options.seed, stages=stages[1:] if sample else stages)
        carry_out("signals", attempts, interrupts.summary, has_no_problems)
    if is_selected("stops"):
        chosen, encoders = (domains[:1], ("gru",)) if sample else (domains, recipes.ENCODERS)
        attempts = (
            stop for case in stops.cases(work, chosen, encoders) for stop in stops.stops(case, seed=options.seed)
        )
        carry_out("stops", attempts, stops.summary, has_no_problems)
    if is_selected("power"):
        chosen_cases = all_cases[-1:] if sample else all_cases
        attempts = power.campaign(chosen_cases, options.count or (2 if sample else 40), seed=options.seed)
        carry_out("power", attempts, kills.summary, has_no_problems)
    if is_selected("verify"):
        chosen, encoders = (domains[-2:-1], ("lstm",)) if sample else (domains, recipes.ENCODERS)
        attempts = certificates.certificates(work, chosen, encoders, kills=options.count or 5, seed=options.seed)
        carry_out("verify", attempts, certificates.summary, has_no_problems)
    if is_selected("controls"):
        few = ("random numbers of another step are drawn", "a batch is skipped", "checkpoints are written in place")
        names = (*few, "folders are not synced", "verify-resume, random numbers of another step") if sample else None
        attempts = controls.controls(cases["charlm"], kills_in_saves=3 if sample else 12, names=names)
        carry_out("controls", attempts, controls.summary, lambda control: control.passed)
    if is_selected("matrix") and not sample:
        carry_out("matrix", matrix.sweep(runs.case("waves", work)), matrix.table, has_no_problems)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1, default=str) + "\n")
    shutil.rmtree(work / "recipes", ignore_errors=True)
    print(f"{failed} not as documented" if failed else "everything as documented")
    return 1 if failed else 0


def _cpu_seconds() -> float:
    """Of this process and its children."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    sys.exit(main())
