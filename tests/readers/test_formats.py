"""Formats of files of examples: known by suffix, content or option, and each read as it is written."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqkit import readers
from seqkit.errors import DataError, UsageError
from seqkit.readers import TableFormat, table
from seqkit.reading import collect_reports
from seqkit.types import Flaw
from tests.helpers.text_files import refusal, write

OR = ", or write the file as those that the model was trained on"

ROWS = [("a good film", "good"), ("not, bad", "bad"), ("", "good")]


def pairs(path: Path, **options: Any) -> list[tuple[Any, Any]]:
    return [(example.input, example.target) for example in table(path, **options)]


WRITTEN = {
    "tsv": "".join(f"{text}\t{label}\n" for text, label in ROWS),
    "csv": "".join(f'"{text}",{label}\n' for text, label in ROWS),
    "jsonl": "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS),
    "json": json.dumps([{"text": text, "label": label, "n": 1} for text, label in ROWS], indent=1),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_each_format_is_known_by_suffix_content_and_option(form: Any, tmp_path: Path) -> None:
    raw = WRITTEN[form].encode()
    assert pairs(write(tmp_path, raw, f"a.{form}")) == ROWS
    assert pairs(write(tmp_path, raw, "a.dat"), layout=TableFormat(format=form)) == ROWS
    with collect_reports() as reading:
        assert pairs(write(tmp_path, raw, "a.data")) == ROWS
    assert reading.remarks == [f"a.data is read as {form}, by its content; `format` says it for certain"]
    assert next(iter(reading.tables)) == "a.data"


@pytest.mark.parametrize(
    ("compress", "suffix"), [(gzip.compress, ".gz"), (lzma.compress, ".xz"), (bz2.compress, ".bz2")]
)
def test_compression_is_known_by_content(compress: Callable[[bytes], bytes], suffix: str, tmp_path: Path) -> None:
    raw = compress(WRITTEN["tsv"].encode())
    assert pairs(write(tmp_path, raw, f"a.tsv{suffix}")) == ROWS
    assert pairs(write(tmp_path, raw, "a.tsv")) == ROWS
    assert pairs(write(tmp_path, raw, "a")) == ROWS


def test_blocked_gzip_is_gzip_of_several_members(tmp_path: Path) -> None:
    raw = b"".join(gzip.compress(line.encode()) for line in WRITTEN["tsv"].splitlines(keepends=True))
    assert pairs(write(tmp_path, raw, "a.tsv.bgz")) == ROWS


@pytest.mark.parametrize(("compress", "name"), [(lzma.compress, "xz"), (gzip.compress, "gzip")])
def test_a_damaged_file_is_named(compress: Callable[[bytes], bytes], name: str, tmp_path: Path) -> None:
    path = write(tmp_path, compress(b"a\tb\n" * 5000)[:-12], "a.tsv")
    assert f"damaged {name}" in refusal(lambda: table(path))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path, "café ÿ\tgut\r\nnaïve\tböse\n".encode(encoding), "a.tsv")
    assert pairs(path, layout=TableFormat(encoding=encoding)) == [("café ÿ", "gut"), ("naïve", "böse")]


def test_an_encoding_that_does_not_fit_is_located(tmp_path: Path) -> None:
    path = write(tmp_path, "a\tb\nц\tb\n".encode(), "a.tsv")
    message = refusal(lambda: table(path, layout=TableFormat(encoding="ascii")))
    assert message.startswith(f"{path}:2: byte 0xd1 is not ascii")


@pytest.mark.parametrize("encoding", ["utf-9", "rot13", "base64"])
def test_no_such_encoding(encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path, b"a\tb\n", "a.tsv")
    with pytest.raises(UsageError, match="is not the name of an encoding"):
        pairs(path, layout=TableFormat(encoding=encoding))


@pytest.mark.parametrize(
    ("layout", "raw"),
    [
        (TableFormat(separator=";"), b"a b;x\nc;y\n"),
        (TableFormat(separator="bar"), b"a b|x\nc|y\n"),
        (TableFormat(separator="tab", quoting=True), b'"a b"\tx\nc\ty\n'),
        (TableFormat(format="csv", separator="semicolon"), b'"a b";x\nc;y\n'),
    ],
)
def test_separators(layout: TableFormat, raw: bytes, tmp_path: Path) -> None:
    assert pairs(write(tmp_path, raw, "a.txt"), layout=layout) == [("a b", "x"), ("c", "y")]


def test_blanks_are_any_run_of_spaces_and_tabs(tmp_path: Path) -> None:
    path = write(tmp_path, b"  a \t x\nc   y \n", "a.txt")
    assert pairs(path, layout=TableFormat(separator="blanks")) == [("a", "x"), ("c", "y")]


@pytest.mark.parametrize("separator", ["", "::", '"', "\n", "tabulator"])
def test_what_separates_nothing(separator: str) -> None:
    with pytest.raises(UsageError, match="separator"):
        TableFormat(separator=separator)


def test_another_separator_is_suggested(tmp_path: Path) -> None:
    path = write(tmp_path, b"a;b\n", "a.csv")
    assert refusal(lambda: table(path)).endswith(
        "a semicolon seems to separate its columns: set `separator: semicolon`" + OR
    )


def test_fasttext(tmp_path: Path) -> None:
    path = write(tmp_path, b"__label__good a film\n__label__bad __label__long not this\n", "a.txt")
    assert pairs(path) == [("a film", "good"), ("not this", ["bad", "long"])]
    wrong = write(tmp_path, b"__label__good a film\nno label\n", "b.txt")
    assert refusal(lambda: table(wrong)) == f"{wrong}:2: has no label, which begins with __label__"
    assert [e.input for e in table(wrong, labelled=False)] == ["a film", "no label"]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ('[{"text": "a"}, {"text": "b"}]', ["1:2", "1:17"]),
        ('[\n{"text": "a"},\n{"text": "b"}\n]', ["2", "3"]),
        ('[\n  {"text": "a"}, {"text": "b"},\n\n  {\n"text": "c"}]', ["2", "2:18", "4"]),
        ('[{"text": "a"\n}, {"text": "ü\u0085"}]', ["1:2", "2:4"]),
    ],
)
def test_each_object_of_an_array_has_a_place_of_its_own(text: str, places: list[str], tmp_path: Path) -> None:
    path = write(tmp_path, text.encode(), "a.json")
    examples = list(readers.json_array(path, target=None))
    assert [example.id for example in examples] == [f"a.json:{place}" for place in places]


BAD_OBJECTS = {
    '{"text": "b", "label": NaN}': "NaN is not JSON",
    '{"text": "b", "text": "b"}': "the key 'text' is given twice",
    '{"text": "b", "label" 1}': "is not JSON: Expecting ':' delimiter",
    '{"text": "b, {}", label: [1, {"x": 2}, "]"]}': "is not JSON: Expecting property name",
    "17": "has a int in its array, not an object",
    '[{"text": "b"}]': "has a list in its array, not an object",
    '{"label": "b"}': "has no key 'text'",
    '{"text": "\\ud800"}': "has half of a surrogate pair",
    '{"text": "b': "is not JSON: Invalid control character",
    '{"text": {"b": 1': "is not JSON: Expecting property name",
    "nothing": "is not JSON: Expecting value",
}


NOT_CLOSED = ('{"text": "b', '{"text": {"b": 1')
"""Where these end can be told by lines only."""


@pytest.mark.parametrize(
    ("bad", "between"),
    [(bad, between) for bad in BAD_OBJECTS for between in (",\n", ", ") if between == ",\n" or bad not in NOT_CLOSED],
)
def test_a_bad_object_of_an_array_can_be_a_flaw(bad: str, between: str, tmp_path: Path) -> None:
    text = "[" + between.join(('{"text": "a"}', bad, '{"text": "c"}', bad, '{"text": "d"}')) + "]"
    path = write(tmp_path, text.encode(), "a.json")
    examples = list(readers.json_array(path, target=None, flaws=True))
    assert [example.input if isinstance(example.input, str) else "-" for example in examples] == [*"a-c-d"]
    assert isinstance(examples[1].input, Flaw)
    assert BAD_OBJECTS[bad] in examples[1].input.what
    assert len({example.id for example in examples}) == 5
    with pytest.raises(DataError):
        list(readers.json_array(path, target=None))


def test_a_byte_that_is_no_text_spoils_one_object(tmp_path: Path) -> None:
    path = write(tmp_path, b'[{"text": "a"},\n{"text": "\xff"},\n{"text": "c"}]', "a.json")
    examples = list(readers.json_array(path, target=None, flaws=True))
    assert [isinstance(example.input, Flaw) for example in examples] == [False, True, False]
    assert "byte 0xff is not UTF-8" in examples[1].input.what


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[]", ": is an empty array"),
        (b'{"text": 1}', ":1: is not a JSON array, which begins with ["),
        (b'[\n{"text": "a", "label": "b"},\n{"text": "a"}]', ":3: has no key 'label'; the keys are: text"),
        (b'[\n{"text": "a", "label": "b"}\n{"text": "a"}]', ":3: is not JSON: a comma or ] should follow"),
        (b"[\n1]", ":2: has a int in its array, not an object"),
        (b'[{"text": "a", "label": "b"}]\nx', ":2: has something after the end of the array"),
        (b'[{"text": "a", "label": NaN}]', ":1:2: NaN is not JSON"),
        (b'[\n{"text": "a", label: 1}]', ":2:15: is not JSON"),
        (b'[\n{"text": "a", "label": "b"},\n]', ":3:1: is not JSON"),
    ],
)
def test_a_json_array_is_refused_where_it_is_wrong(raw: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, raw, "a.json")
    assert refusal(lambda: table(path)).startswith(f"{path}{message}")


def test_a_json_array_says_where_its_objects_are(tmp_path: Path) -> None:
    path = write(tmp_path, b'\n[\n {"text": "a",\n"label": "x"},\n\n {"text": "b", "label": "y"}\n]\n', "a.json")
    assert [example.id for example in table(path)] == ["a.json:3", "a.json:6"]


def test_what_has_no_known_format(tmp_path: Path) -> None:
    path = write(tmp_path, b"\nwords only\n", "a.dat")
    assert refusal(lambda: table(path)).startswith(f"{path}:2: neither its name nor its content says")


def test_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    values = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS], "other": [1, 2, 3]}
    for name in ("a.parquet", "a.bin"):
        parquet.write_table(arrow.table(values), tmp_path / name)
        with collect_reports() as reading:
            assert pairs(tmp_path / name) == ROWS
        assert reading.tables[name].unused == ("other",)
    assert [example.target for example in table(tmp_path / "a.parquet", target=3)] == [1, 2, 3]
    message = refusal(lambda: table(tmp_path / "a.parquet", input="txt"))
    assert message.endswith("no column 'txt'; did you mean 'text'?")
    broken = write(tmp_path, b"PAR1 nonsense", "b.parquet")
    assert "cannot be read as Parquet" in refusal(lambda: table(broken))


def test_what_is_wrong_in_parquet_is_told_with_row_group_row_and_column(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def refused(texts: list[Any], labels: list[Any], damage: int = 0) -> str:
        path = tmp_path / "a.parquet"
        columns = {"text": arrow.array(texts), "label": arrow.array(labels)}
        parquet.write_table(arrow.table(columns), path, row_group_size=3, compression="gzip", use_dictionary=False)
        if damage:
            column = parquet.ParquetFile(path).metadata.row_group(damage - 1).column(1)
            raw, end = bytearray(path.read_bytes()), column.data_page_offset + column.total_compressed_size
            raw[end - 9 : end] = bytes(9)
            path.write_bytes(raw)
        return refusal(lambda: table(path)).partition("a.parquet:")[2].strip()

    texts = [f"text {n}" for n in range(8)]
    assert (
        refused([*texts[:7], None], ["a"] * 8)
        == "row 8, column 'text' (row 2 of row group 3 of 3): has no value (null)"
    )
    assert (
        refused(texts, [*"abcd", None, *"xyz"])
        == "row 5, column 'label' (row 2 of row group 2 of 3): has no value (null)"
    )
    odd = arrow.array([b"fine", b"od\xffd"] * 4).view(arrow.string())
    assert refused(odd, ["a"] * 8) == (
        "row 2, column 'text' (row 2 of row group 1 of 3): byte 0xff is not UTF-8, at byte 3 of the text"
    )
    assert refused(texts, ["a"] * 8, damage=2).startswith(
        "row group 2 of 3, column 'label': cannot be read, after 3 rows: "
    )


class TestFolders:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for name in ("greek/alpha/1.txt", "greek/beta/2.txt", "latin/a/1.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{name}\nsecond\n", encoding="utf-8")
        return tmp_path

    @pytest.mark.parametrize(
        ("level", "labels"),
        [
            (1, ["greek", "greek", "latin"]),
            (-1, ["alpha", "beta", "a"]),
            (2, ["alpha", "beta", "a"]),
            (0, ["greek/alpha", "greek/beta", "latin/a"]),
        ],
    )
    def test_a_folder_names_the_class(self, root: Path, level: int, labels: list[str]) -> None:
        examples = list(readers.folder_per_class(root, level=level))
        assert [example.target for example in examples] == labels
        assert examples[0].input == "greek/alpha/1.txt\nsecond"
        assert examples[0].id == "greek/alpha/1.txt"

    def test_what_is_left_out_is_reported_and_links_are_followed(self, root: Path, tmp_path_factory: Any) -> None:
        other = tmp_path_factory.mktemp("other")
        (other / "x.txt").write_text("x", encoding="utf-8")
        (root / "linked").symlink_to(other)
        (root / "again").symlink_to(root / "latin")
        (root / "top.txt").write_text("x", encoding="utf-8")
        (root / "greek" / "picture.png").write_text("x", encoding="utf-8")
        (root / "greek" / ".hidden").write_text("x", encoding="utf-8")
        with collect_reports() as reading:
            labels = [example.target for example in readers.folder_per_class(root)]
        assert labels == ["greek", "greek", "latin", "linked"]
        assert {kind: (left.count, left.first) for kind, left in reading.left_out.items()} == {
            "file outside of the folders of the classes": (1, "top.txt"),
            "file that is not text (.png)": (1, "greek/picture.png"),
            "hidden file": (1, "greek/.hidden"),
            "folder that is a link to one that is read already": (1, "again"),
        }

    def test_a_zip_archive_is_read_like_the_folder(self, root: Path, tmp_path: Path) -> None:
        for name, content in (("greek/a.pdf", "x"), ("__MACOSX/greek/._1.txt", "x"), ("notes.txt", "x")):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content, encoding="utf-8")
        (root / "latin" / "packed.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfa text\r\nand more"))
        path = tmp_path / "classes.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, file.relative_to(root))
        with collect_reports() as of_folder:
            examples = list(readers.folder_per_class(root))
        with collect_reports() as of_archive:
            assert list(readers.folder_per_class(path)) == examples
        assert of_archive == of_folder
        assert "a text\nand more" in [example.input for example in examples]

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("../out.txt", "has a name that leads outside of the archive"),
            ("/etc/a.txt", "has a name that leads outside of the archive"),
            ("good/link.txt", "is a link, a device or something else that is not a plain file"),
        ],
    )
    def test_an_archive_with_odd_members_is_refused(self, name: str, reason: str, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        member = zipfile.ZipInfo(name)
        member.external_attr = (0o120777 if "link" in name else 0o100644) << 16
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(member, "x")
        with pytest.raises(DataError, match=f"a.zip:{name}: {reason}"):
            list(readers.folder_per_class(path))

    def test_a_bomb_and_a_damaged_archive_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("good/a.txt", b"a" * (4 << 20))
        with pytest.raises(DataError, match="times its size"):
            list(readers.folder_per_class(path))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("good/a.txt", b"a long enough text")
        path.write_bytes(path.read_bytes().replace(b"long", b"lung"))
        with pytest.raises(DataError, match=r"good/a\.txt: is damaged"):
            list(readers.folder_per_class(path))
        path.write_bytes(b"no zip")
        with pytest.raises(DataError, match="cannot be read as a zip archive"):
            list(readers.folder_per_class(path))

    def test_a_link_to_a_folder_above_is_refused(self, root: Path) -> None:
        (root / "up").symlink_to(root.parent)
        with pytest.raises(DataError, match="which the folder itself lies in; remove the link"):
            list(readers.folder_per_class(root))

    def test_too_few_folders(self, root: Path) -> None:
        with pytest.raises(DataError, match="lies in 2 folders, so there is no folder 3"):
            list(readers.folder_per_class(root, level=3))
