"""Write docs/promises.md from docs/promises.toml (what is promised, and its checks) and docs/promises.json (what ran).

python docs/make_promises.py                    write the page
python docs/make_promises.py --check            exit with 1 if the page is out of date
python docs/make_promises.py --run [NAME ...]   run the commands of these promises (default: all), record the results,
                                                and write the page
python docs/make_promises.py --report FILE      the same from `pytest --junitxml=FILE`, for the promises whose tests are
                                                all in that report

A promise without a result, or whose last result has a failure, is not on the page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PAGE, PROMISES, RESULTS = (FOLDER / f"promises.{suffix}" for suffix in ("md", "toml", "json"))


def page(promises: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """The text of docs/promises.md."""
    text = f"# Promises\n\n{promises['about'].strip()}\n\n"
    versions: list[str] = []
    for section in promises["section"]:
        rows = [(promise, results.get(promise["name"])) for promise in section["promise"]]
        kept = [(promise, result) for promise, result in rows if result is not None and not result["failed"]]
        if not kept:
            continue
        text += f"## {section['title']}\n\n| promise | checked by | last result |\n| --- | --- | --- |\n"
        for promise, result in kept:
            ran_on = describe_versions(result)
            versions += [ran_on] if ran_on not in versions else []
            text += (
                f"| {promise['text']} | {promise['checked']} | {result['result']} ({versions.index(ran_on) + 1}) |\n"
            )
        text += "\n" + "".join(f"{note.strip()}\n\n" for note in section.get("notes", ()))
    text += "## What the results ran on\n\nThe numbers in brackets:\n\n"
    return text + "".join(f"{number}. {line}\n" for number, line in enumerate(versions, 1))


def describe_versions(result: Mapping[str, Any]) -> str:
    """When, and with which versions, a result was obtained."""
    return ", ".join([result["made"], *(f"{name} {version}" for name, version in result["versions"].items())])


def commands(checked: str) -> Iterator[list[str]]:
    """The commands in the cell of a table that check a promise, as words."""
    for snippet in re.findall(r"`([^`]+)`", checked):
        words = shlex.split(snippet)
        program = next((number for number, word in enumerate(words) if "=" not in word), 0)
        if words[program] == "pytest" or words[program : program + 2] == ["python", "-m"]:
            yield words


def run(promise: Mapping[str, Any]) -> dict[str, Any]:
    """Run what checks a promise, and count."""
    passed = failed = skipped = 0
    campaigns: list[str] = []
    for words in commands(promise["checked"]):
        variables = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
        words = words[len(variables) :]
        environment = {**os.environ, **variables}
        if words[0] != "pytest":
            ended, results = run_campaign([sys.executable, *words[1:]], environment)
            failed += ended != 0
            campaigns += results
            continue
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            command = [sys.executable, "-m", *words, "-q", f"--junitxml={report}"]
            ended = subprocess.run(command, env=environment, check=False).returncode
            counts = count(report) if report.exists() else (0, 0, 0)
        passed, skipped = passed + counts[0], skipped + counts[2]
        failed += counts[1] or int(ended != 0)
    result = result_of(passed, failed, skipped)
    if campaigns:
        result["result"] = "; ".join([*campaigns, *([result["result"]] if passed else [])])
    return result


def run_campaign(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """The exit status of a campaign whose output is shown as it comes, and the results that it printed.

    A campaign that prints no result counts as failed: there would be nothing to write down.
    """
    results: list[str] = []
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            results += re.findall(r"^result: (.*)$", line)
    return (process.returncode or int(not results)), results


def result_of(passed: int, failed: int, skipped: int) -> dict[str, Any]:
    """A result obtained now and here."""
    result = f"{passed:,} passed" + (f", {skipped:,} skipped" if skipped else "")
    return {"result": result, "failed": failed, "made": f"{datetime.now(UTC):%Y-%m-%d}", "versions": versions_here()}


def from_report(promise: Mapping[str, Any], outcomes: Mapping[tuple[str, str], str]) -> dict[str, Any] | None:
    """The result of a promise in a report of many tests; None if one of its tests, or a command, is not in there."""
    counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
    for words in commands(promise["checked"]):
        if words[0] != "pytest":
            return None
        command = [sys.executable, "-m", *words, "--collect-only", "-q"]
        collected = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
        tests = [test_key(line) for line in collected.splitlines() if line.startswith("tests/")]
        if not tests or any(test not in outcomes for test in tests):
            return None
        for test in tests:
            counts[outcomes[test]] += 1
    return result_of(**counts) if sum(counts.values()) else None


def test_key(name: str) -> tuple[str, str]:
    """A test's name as pytest prints it -> its class and name as the report has them."""
    path, bracket, parameters = name.partition("[")
    *modules, function = path.replace(".py::", "::").replace("/", ".").split("::")
    return ".".join(modules), function + bracket + parameters


def outcomes_of(report: Path) -> dict[tuple[str, str], str]:
    """passed, failed or skipped, of each test in pytest's report in XML."""
    outcomes = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        outcomes[case.get("classname", ""), case.get("name", "")] = outcome
    return outcomes


def count(report: Path) -> tuple[int, int, int]:
    """How many tests passed, failed and were skipped, from pytest's report in XML."""
    numbers = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for name in numbers:
            numbers[name] += int(suite.get(name, 0))
    failed = numbers["failures"] + numbers["errors"]
    return numbers["tests"] - failed - numbers["skipped"], failed, numbers["skipped"]


def versions_here() -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    return {
        "torch": metadata.version("torch"),
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {cores} cores",
    }


def main(check: bool = False, names: Sequence[str] | None = None, report: Path | None = None) -> int:
    """Record what ran, and write the page.

    Args:
        check: only compare the page with what would be written.
        names: promises whose commands are run; empty: all; None: no command is run.
        report: of pytest, with the results of many promises.
    """
    promises = tomllib.loads(PROMISES.read_text(encoding="utf-8"))
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    by_name = {promise["name"]: promise for section in promises["section"] for promise in section["promise"]}
    if names is not None:
        if unknown := sorted({*names} - {*by_name}):
            raise SystemExit(f"no promise is called {', '.join(unknown)}; there are: {', '.join(by_name)}")
        for name in names or by_name:
            results[name] = run(by_name[name])
            print(f"{name}: {results[name]['result']}, {results[name]['failed']} failed", flush=True)
            write_results(results)
    if report is not None:
        outcomes = outcomes_of(report)
        for name, promise in by_name.items():
            result = from_report(promise, outcomes)
            print(f"{name}: {'not in the report' if result is None else result['result']}", flush=True)
            results |= {} if result is None else {name: result}
        write_results(results)
    text = page(promises, results)
    if check:
        if is_old := PAGE.read_text(encoding="utf-8") != text:
            print(f"{PAGE.name} is out of date: run python docs/make_promises.py")
        return int(is_old)
    PAGE.write_text(text, encoding="utf-8")
    return 0


def write_results(results: Mapping[str, Any]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--run", nargs="*", metavar="NAME")
    parser.add_argument("--report", type=Path, metavar="FILE")
    options = parser.parse_args()
    sys.exit(main(options.check, options.run, options.report))
