"""What readers report: columns, what is left out, and that a stored report is the same as a fresh one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqkit import readers
from seqkit.reading import (
    Columns,
    Counted,
    Reading,
    collect_reports,
    report_again,
    report_changed,
    report_columns,
    report_left_out,
    report_remark,
    report_split_rule,
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_happens_outside_of_a_block() -> None:
    report_left_out("blank line", "a.tsv:1")
    report_columns("a.tsv", {"input": 1})
    report_split_rule("by hand")
    report_remark("all is well")
    with collect_reports() as reading:
        pass
    assert reading == Reading()


def test_things_of_a_kind_are_counted_and_the_first_is_kept() -> None:
    with collect_reports() as reading:
        for number in (3, 7, 9):
            report_left_out("blank line", f"a.tsv:{number}")
        report_left_out("file that is not audio (.txt)", "notes/a.txt", 12)
        for rule in ("by hash", "by hash", "by folder"):
            report_split_rule(rule)
        report_remark("tags are corrected")
        report_remark("tags are corrected")
    assert reading.left_out == {
        "blank line": Counted(3, "a.tsv:3"),
        "file that is not audio (.txt)": Counted(12, "notes/a.txt"),
    }
    assert reading.split_rules == ["by hash", "by folder"]
    assert reading.remarks == ["tags are corrected"]


def test_an_inner_block_keeps_its_reports_until_they_are_repeated() -> None:
    with collect_reports() as outer:
        report_left_out("link", "a")
        with collect_reports() as inner:
            report_left_out("link", "b", 2)
        assert outer.left_out["link"].count == 1
        report_again(inner)
        report_again(inner)
    assert outer.left_out == {"link": Counted(5, "a")}


def test_two_files_of_one_name_are_kept_apart() -> None:
    with collect_reports() as reading:
        report_columns("train.csv", {"input": 1}, [2])
        report_columns("train.csv", {"input": 1}, [2])
        report_columns("train.csv", {"input": 2}, [1])
    assert reading.tables == {"train.csv": Columns({"input": 1}, (2,)), "train.csv (2)": Columns({"input": 2}, (1,))}


def test_facts_are_json_and_can_be_restored() -> None:
    with collect_reports() as reading:
        report_columns("a.csv", {"input": "text", "target": 2}, ["id", 4], header=True, first=["x" * 200, 3])
        report_left_out("comment line (#)", "a.csv:3", 4)
        report_changed("tag that was corrected", "a.csv:9")
        report_split_rule("by file")
        report_remark("one thing")
    assert reading.tables["a.csv"].first == ("x" * 80, "3")
    assert Reading.restore(json.loads(json.dumps(reading.facts()))) == reading


TABLES = {
    "numbers": ("t.tsv", "a\tx\tb\nc\ty\td\n", {}, Columns({"input": 1, "target": 2}, (3,), False, ("a", "x", "b"))),
    "names": (
        "t.tsv",
        "id\ttext\tlabel\n1\ta\tx\n",
        {"input": "text", "target": "label"},
        Columns({"input": "text", "target": "label"}, ("id",), True, ("1", "a", "x")),
    ),
    "a header, columns by number": (
        "t.csv",
        "label,text\nx,a\n",
        {"input": 2, "target": 1, "header": True},
        Columns({"input": "text", "target": "label"}, (), True, ("x", "a")),
    ),
    "no target": (
        "t.csv",
        'a,"b, c",d\n',
        {"input": 2, "target": None},
        Columns({"input": 2}, (1, 3), False, ("a", "b, c", "d")),
    ),
    "keys": (
        "t.jsonl",
        '{"text": "a", "label": "x", "id": 1}\n{"label": "y", "text": "b", "who": "me"}\n',
        {},
        Columns({"input": "text", "target": "label"}, ("id", "who"), True, ("a", "x")),
    ),
    "one key": ("t.jsonl", '{"text": "a"}\n', {"target": None}, Columns({"input": "text"}, (), True, ("a",))),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_reports_its_columns(name: str, tmp_path: Path) -> None:
    file, text, options, expected = TABLES[name]
    path = write(tmp_path / file, text)
    reader = {".tsv": readers.tsv, ".csv": readers.csv, ".jsonl": readers.jsonl}[path.suffix]
    with collect_reports() as reading:
        assert list(reader(path, **options))
    assert reading.tables == {file: expected}
    assert not reading.left_out


@pytest.mark.parametrize(
    ("file", "row"),
    [("t.tsv", "a\tx\n"), ("t.csv", "a,x\n"), ("t.jsonl", '{"text": "a", "label": "x"}\n'), ("t.txt", "a\n")],
)
def test_blank_lines_that_are_left_out_are_counted(file: str, row: str, tmp_path: Path) -> None:
    path = write(tmp_path / file, f"\n{row} \t \n\n{row}\u2003\n")
    kinds = {".tsv": readers.tsv, ".csv": readers.csv, ".jsonl": readers.jsonl, ".txt": readers.lines}
    with collect_reports() as reading:
        assert len(list(kinds[path.suffix](path, skip_blank=True))) == 2
    assert reading.left_out == {"blank line": Counted(4, f"{file}:1")}
