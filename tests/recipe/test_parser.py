"""Bytes to a tree with locations: YAML 1.2 without its traps, and hostile bytes that cost little."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seqkit.recipe import parser
from seqkit.recipe.parser import Fatal, Location, Node, RecipeIssue


def locate(line: int, column: int) -> Location:
    return Location((0, line + 1, column + 1), f"{line + 1}:{column + 1}")


def read(text: str | bytes) -> tuple[Node, list[RecipeIssue]]:
    data = text.encode() if isinstance(text, str) else text
    return parser.compose(parser.decode(data, locate), locate)


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


def fatal(text: str | bytes) -> str:
    with pytest.raises(Fatal) as caught:
        read(text)
    return str(caught.value.issue.problem)


class TestScalars:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("no", "no"),
            ("yes", "yes"),
            ("on", "on"),
            ("true", True),
            ("False", False),
            ("null", None),
            ("~", None),
            ("", None),
            ("012", 12),
            ("0o14", 12),
            ("0x1F", 31),
            ("-3", -3),
            ("+3", 3),
            ("1:30", "1:30"),
            ("1e-3", 0.001),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1_000", 1000),
            ("1_0.5", 10.5),
            ("1__0", "1__0"),
            ("1e5_0", "1e5_0"),
            ("1.0_5", "1.0_5"),
            (".5_0", ".5_0"),
            ("-1_0e5", -1e6),
            ("1e-1_0", "1e-1_0"),
            ("+1_2_3", 123),
            ("_1", "_1"),
            ("2001-01-01", "2001-01-01"),
            ("0b1", "0b1"),
            ("-", [None]),
            ("=", "="),
            ("'1'", "1"),
            ('"true"', "true"),
            ("'<<'", "<<"),
            ("9223372036854775807", 2**63 - 1),
            ("a b", "a b"),
            ("a#b", "a#b"),
            ("a # b", "a"),
            ("|\n  x\n  y\n", "x\ny\n"),
        ],
    )
    def test_by_the_core_schema_of_yaml_1_2(self, text: str, value: object) -> None:
        node, issues = read(f"k: {text}" if text != "-" else "k:\n- ")
        scalar = plain(node)["k"]
        assert scalar == value
        assert type(scalar) is type(value)
        assert not issues

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (".inf", "the number '.inf' is not allowed"),
            ("-.INF", "the number '-.INF' is not allowed"),
            (".nan", "the number '.nan' is not allowed"),
            ("1e400", "the number 1e400 is too large"),
            ("9223372036854775808", "too large"),
            ("9" * 5000, "too large"),
            ("0x" + "f" * 5000, "too large"),
        ],
    )
    def test_numbers_that_are_not_allowed(self, text: str, message: str) -> None:
        _, (issue,) = read(f"a: 1\nk: [{text}]")
        assert issue.location.text == "2:5"
        assert message in issue.message


class TestTree:
    def test_every_key_and_value_knows_its_location(self) -> None:
        node, _ = read("# c\na:\n  - x\n  - {b: 2,\n     c: }\nd: 'e'\n")
        a, d = node.entries["a"], node.entries["d"]
        assert (a.location.text, a.node.location.text) == ("2:1", "3:3")
        assert isinstance(a.node.value, list)
        inner = a.node.value[1].entries
        assert [inner["b"].location.text, inner["b"].node.location.text] == ["4:6", "4:9"]
        assert inner["c"].location.text == "5:6"
        assert (d.location.text, d.node.location.text) == ("6:1", "6:4")

    def test_a_byte_order_mark_and_other_line_ends_change_nothing(self) -> None:
        text = "a: 1\nb: [x, y]\n"
        node, _ = read(text)
        for other in (b"\xef\xbb\xbf" + text.encode(), text.replace("\n", "\r\n").encode(), b"---\n" + text.encode()):
            assert plain(read(other)[0]) == plain(node)
        assert read(b"\xef\xbb\xbfa: 1")[0].entries["a"].location.text == "1:1"

    def test_anchors_are_written_out(self) -> None:
        node, issues = read("a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]\n")
        assert plain(node) == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": [{"k": [1, 2]}] * 2}
        assert not issues

    def test_what_is_wrong_but_readable_is_all_found(self) -> None:
        text = "a: !!int 1\nb: 2\nb: 3\n<<: {c: 1}\n1: x\n? [q]\n: y\nd: !own {}\nnull: 1\ne: .nan\n"
        node, issues = read(text)
        assert [(issue.location.text, issue.message) for issue in issues] == [
            ("1:4", "the tag '!!int' is not allowed"),
            ("3:1", "the key 'b' is given twice in this mapping"),
            ("4:1", "merge keys ('<<') are not allowed"),
            ("5:1", "a key must be text, got 1"),
            ("6:3", "a key must be text, got a list"),
            ("8:4", "the tag '!own' is not allowed"),
            ("9:1", "a key must be text, got null"),
            ("10:4", "the number '.nan' is not allowed"),
        ]
        assert issues[1].hint == "first at 2:1"
        assert list(plain(node)) == ["a", "b", "d", "e"]

    @pytest.mark.parametrize(
        "tag", ["!!python/object/apply:os.system [ls]", "!!binary aGk=", "! x", "!<tag:x> y", "!!set {a}"]
    )
    def test_every_tag_is_refused(self, tag: str) -> None:
        _, issues = read(f"a: {tag}")
        assert "is not allowed" in issues[0].message


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "1:1: the file is empty"),
            ("# only a comment\n", "1:1: the file is empty"),
            ("\n \n", "1:1: the file is empty"),
            ("%YAML 1.1\n---\na: no\n", "1:1: directives ('%') are not allowed"),
            ("# c\n\n%FOO x\n---\na: 1\n", "3:1: directives ('%') are not allowed"),
            ("a: 1\n---\nb: 2\n", "2:1: a second document begins here"),
            ("a: 1\n...\n---\nb: 2\n", "3:1: a second document"),
            ("a: [1, 2\nb: 3\n", "not valid YAML"),
            ("a: 'x\n", "not valid YAML"),
            ("a: b: c\n", "1:5: not valid YAML"),
            ("\ta: 1\n", "1:1: not valid YAML"),
            ("a: *x\n", "1:4: the anchor 'x' is not defined above"),
            ("a: &x [*x]\n", "1:8: the anchor 'x' contains itself"),
            ('a: "\\U00ffffff"\n', "not valid YAML"),
            (b"a: \x00\n", "1:4: the character U+0000 is not allowed"),
            ("a: 1\nb: \u2028\n", "2:4: the character U+2028 is not allowed"),
            ("a: \x85\n", "1:4: the character U+0085"),
            (b"a: 1\n# \xc3\xa9\xff\n", "2:4: byte 0xff is not UTF-8; save it as UTF-8"),
            ("a: 1".encode("utf-16"), "1:1: the file is UTF-16; save it as UTF-8"),
            ("a: 1".encode("utf-16-le"), "1:2: the character U+0000"),
            (b"\x89PNG\r\n\x1a\n\x00", "1:1: byte 0x89 is not UTF-8"),
            (BOMB, "more than 20000 values, the limit for a recipe"),
            ("[" * 100, "1:33: nested more than 32 levels deep, the limit for a recipe"),
            ("{a: " * 100, "nested more than 32 levels deep"),
            ("- " * 100, "nested more than 32 levels deep"),
            ("a: &x " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*x", "nested more than 32 levels deep"),
            ("[" + "1," * 30_000 + "]", "more than 20000 values"),
            ("#" * (parser.MAX_BYTES + 1), "1:1: the file is larger than 256 KiB, the limit for a recipe"),
        ],
    )
    def test_with_the_location_and_the_reason(self, text: str | bytes, message: str) -> None:
        assert message in fatal(text)

    def test_characters_that_only_an_escape_can_make(self) -> None:
        _, issues = read('a: "\\0"\nb: "\\ud800"\nc: "\\x41"\n')
        assert [issue.location.text for issue in issues] == ["1:4", "2:4"]


@pytest.mark.parametrize(
    "code",
    [
        "b'[' * 1_000_000",
        "b'{a: ' * 250_000",
        "b'- ' * 130_000",
        "b'[' * 260_000",
        "b'? ' * 130_000",
        "b'\\n'.join(b' ' * n + b'a:' for n in range(700))",
        "b'\\n' * 262_000",
        "b'a: \"' + b'x\\n\\n' * 87_000",
        "b'a: |\\n' + b' x\\n' * 87_000",
        "b'a: ' + b'x ' * 130_000",
        "b'a: ' + b'9' * 260_000",
        "b'---\\n' * 65_000",
        "b''.join(b'k%d: &k%d 1\\n' % (n, n) for n in range(15_000))",
        "b'\\xff' * 50_000_000",
        "b'a: &x [' + b'1,' * 9_000 + b']\\n' + b''.join(b'b%d: *x\\n' % n for n in range(5_000))",
    ],
)
def test_hostile_bytes_cost_little(code: str) -> None:
    """Less than 32 times what Python needs to add up five million numbers (about two seconds, whatever the machine),
    and 200 MB, measured in a process of its own; an error with a location."""
    script = (
        "import resource, time\n"
        "from seqkit import recipe\n"
        "from seqkit.errors import RecipeError\n"
        f"data = {code}\n"
        "data = data[: 50_000_000]\n"
        "resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "def measure(work):\n"
        "    start = time.process_time()\n"
        "    work()\n"
        "    return time.process_time() - start\n"
        "def add(): sum(range(5_000_000))\n"
        "def parse():\n"
        "  try:\n    recipe.parse(data, 'r.yaml')\n"
        "  except RecipeError as error:\n    print(str(error)[:60])\n"
        "before, seconds, after = measure(add), measure(parse), measure(add)\n"
        "print(seconds / max(before, after))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) / 1024)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    message, ratio, megabytes = result.stdout.strip().split("\n")
    assert message.startswith("r.yaml:")
    assert float(ratio) < 32
    assert float(megabytes) < 200


YAMLISH = st.text(alphabet="ab:-?[]{},&*!|>'\"%#~<.01 \n\t\\xu@`é\r", max_size=60)


@given(YAMLISH)
@example("? ")
@example("!")
@example("&")
@example("*")
@example(": ")
@example("%")
@example('"\\')
@example("--- !")
@example("...")
def test_any_text_is_a_tree_or_one_located_issue(text: str) -> None:
    try:
        node, issues = read(text)
    except Fatal as error:
        issue = error.issue
        assert issue.location.order[1:] >= (1, 1)
        assert issue.message
    else:
        assert isinstance(node, Node)
        for issue in issues:
            assert issue.location.order[1] <= text.count("\n") + text.count("\r") + 1


@given(st.binary(max_size=80))
def test_any_bytes_are_a_tree_or_one_located_issue(data: bytes) -> None:
    try:
        _, issues = read(data)
    except Fatal as error:
        issues = [error.issue]
    assert all(issue.location.order[1:] >= (1, 1) for issue in issues)
