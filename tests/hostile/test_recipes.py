"""Two hundred malicious recipes: none runs code, none crashes, none takes more than two seconds or 200 MB."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from seqkit import recipe as recipes

TASKS = "tasks: {mood: {use: sentiment, source: generated}}\nencoder: {use: gru}\n"
SECONDS, MEGABYTES = 2.0, 200.0

# Tags for which unsafe YAML loaders create Python objects.
TAGS = [
    *(
        "!!python/object/apply:os.system",
        "!!python/object/new:os.system",
        "!!python/name:os.system",
        "!!python/module:os",
    ),
    *("!!python/object:subprocess.Popen", "!!python/object/apply:eval", "!!python/object/apply:builtins.exec"),
    *("!!python/tuple", "!!python/bytes", "!!python/complex", "!!binary", "!!set", "!!omap", "!!timestamp", "!!map"),
    *("!new:os.system", "!apply:os.system", "!name:os.system", "!include", "!ref", "!env", "!secret", "!vault"),
    *("!<tag:yaml.org,2002:python/object/apply:os.system>", "!!js/function", "!ruby/object:Gem::Installer", "!"),
]
# Keys that name code in other programs.
KEYS = [
    *(
        "__class__",
        "__init__",
        "__reduce__",
        "__import__",
        "__globals__",
        "_target_",
        "_partial_",
        "_call_",
        "class_name",
    ),
    *("class_path", "init_args", "target", "$ref", "$include", "import", "module", "registered_name", "lambda", "exec"),
    *("eval", "script", "command", "shell", "plugins", "pip", "requirements", "env", "trust_remote_code", "safe_mode"),
    *("allow_pickle", "unsafe", "weights_only", "custom_objects", "hooks", "on_start", "callbacks", "<<", "&a", "*a"),
]
# Texts that are not names of a task, an encoder or a head.
NAMES = [
    *("os.system", "os:system", "builtins.eval", "builtins:eval", "subprocess:Popen", "seqkit.cli:main", "torch.load"),
    *("../../evil", "/tmp/evil.py", "evil.py", "file:///tmp/evil.py", "https://example.org/evil.py", "git+ssh://x/y"),
    *("lambda: 0", "__import__('os').system('id')", "$(id)", "`id`", "${IFS}id", "%s%s%s%n", "{0.__class__}", "\\0"),
    *("A" * 5000, "\\u202egnp", "sentiment\\n", " sentiment", "SENTIMENT", "sentiment;id", "-rf", "--help", "", "~"),
]
PLACES = [
    "tasks: {{mood: {{use: {}}}}}\n",
    TASKS + "encoder: {{use: {}}}\n",
    TASKS + "train: {{optimizer: {{use: {}}}}}\n",
]


def cases() -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every hostile recipe. `CANARY` in them would be made by whoever obeyed."""
    touch = "touch CANARY"
    for tag in TAGS:
        yield f"tag {tag}", f"{TASKS}seed: {tag} ['{touch}']\n".encode()
        yield f"tag {tag} as task", f"tasks: {tag} {{mood: ['{touch}']}}\n".encode()
    for key in KEYS:
        yield f"key {key}", f"{TASKS}'{key}': \"__import__('os').system('{touch}')\"\n".encode()
        yield f"key {key} inside", f"tasks: {{mood: {{use: sentiment, '{key}': '{touch}'}}}}\n".encode()
    for name in NAMES:
        yield f"name {name[:30]}", PLACES[len(name) % 3].replace("NAME", f'"{name}"').encode()
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
    )
    yield "alias bomb", bomb.encode()
    yield "mapping bomb", ("a: &a {x: 1}\n" + "".join(f"k{n}: &k{n} {{p: *a, q: *a}}\n" for n in range(9000))).encode()
    yield "a loop of aliases", b"tasks: &t {mood: *t}\n"
    yield "an alias to nothing", b"tasks: *undefined\n"
    yield "merge keys", b"base: &b {use: sentiment}\ntasks: {mood: {<<: *b}}\n"
    yield "merge of many", b"a: &a {x: 1}\nb: {<<: [" + b"*a, " * 9000 + b"]}\n"
    for depth in (33, 1000, 100_000):
        yield f"{depth} lists deep", b"tasks: " + b"[" * depth + b"]" * depth
        yield f"{depth} mappings deep", b"tasks: " + b"{a: " * depth + b"1" + b"}" * depth
    yield "deep by blanks", b"\n".join(b" " * n + b"a:" for n in range(700))
    for number in ("9" * 4000, "-" + "9" * 400, "0x" + "f" * 4000, "1e999", "-1e999", ".inf", ".nan", "0o" + "7" * 400):
        yield f"number {number[:12]}", f"{TASKS}seed: {number}\n".encode()
        yield f"number {number[:12]} as batch", f"{TASKS}train: {{batch: {number}}}\n".encode()
    yield "50 MB", TASKS.encode() + b"#" + b"x" * 50_000_000
    yield "50 MB of one word", b"tasks: " + b"x" * 50_000_000
    yield "20,000 keys", TASKS.encode() + b"".join(b"k%d: 1\n" % n for n in range(20_000))
    yield "a key twice", (TASKS + "seed: 1\nseed: 2\n").encode()
    yield "the tasks twice", (TASKS + TASKS).encode()
    yield "two documents", (TASKS + "---\n" + TASKS).encode()
    yield "a directive", b"%YAML 1.1\n---\n" + TASKS.encode()
    yield "a directive of tags", b"%TAG ! tag:yaml.org,2002:python/\n---\n" + TASKS.encode()
    yield "a NUL", TASKS.encode() + b"seed: \0\n"
    yield "no UTF-8", TASKS.encode() + b"x: \xff\xfe\n"
    yield "UTF-16", (TASKS + "\n").encode("utf-16")
    yield "UTF-32", (TASKS + "\n").encode("utf-32")
    yield "a terminal's escape", TASKS.encode() + b"\x1b]0;owned\x07: 1\n"
    yield "right to left", (TASKS + "'\u202eresu': 1\n").encode()
    yield "another line end", (TASKS + "# \u2028seed: 1\nx: 1\n").encode()
    yield "a pickle", b"\x80\x04\x95\x1e\x00\x00\x00cposix\nsystem\n(S'touch CANARY'\ntR."
    yield "a zip", b"PK\x03\x04" + bytes(300)
    yield "a program", b"#!/bin/sh\ntouch CANARY\n"
    yield "Python", b"import os\nos.system('touch CANARY')\n"
    yield "JSON of its own class", json.dumps({"tasks": {"mood": {"use": "sentiment", "__class__": "os"}}}).encode()
    yield "JSON deep", b'{"tasks":' * 5000 + b"1" + b"}" * 5000
    yield "JSON twice", b'{"tasks": {"mood": {"use": "sentiment"}}, "tasks": {}}'
    yield "nothing", b""
    yield "blanks", b" \n\t\n" * 1000
    yield "a comment", b"# tasks\n" * 10_000
    yield "a number", b"3"
    yield "a list", b"- tasks\n- encoder\n"
    for text in ("../../../etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/environ", "\\\\host\\share", "~root/x"):
        yield (
            f"path {text}",
            f"tasks: {{mood: {{use: sentiment, folder: '{text}', source: generated}}}}\nencoder: gru\n".encode(),
        )
    for key in ("mood/../../x", "../x", "a.b", "a b", "", "x" * 300, "CON", "-x", "é", "a\\nb", "train", "."):
        yield f"task called {key[:20]}", f'tasks: {{"{key}": {{use: unknown}}}}\n'.encode()


def test_the_number_of_cases() -> None:
    names = [name for name, _ in cases()]
    assert len(names) == len(set(names))
    assert len(names) >= 200


MEASURED = """
import json, resource, time
from seqkit import recipe
from seqkit.errors import RecipeError
from tests.hostile.test_recipes import cases
recipes = list(cases())
recipe.parse(b"tasks: {mood: {use: sentiment}}\\nencoder: gru\\n", "good.yaml")
memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = memory()
for name, content in recipes:
    start, problems = time.process_time(), None
    try:
        recipe.parse(content, "hostile.yaml")
    except RecipeError as error:
        problems = [(problem.where, str(problem)) for problem in error.problems]
    print(json.dumps([name, time.process_time() - start, memory() - before, problems]))
"""


def test_none_runs_code_crashes_or_takes_much(tmp_path: Path) -> None:
    """All of them in one process, whose memory is measured, in an empty folder."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURED],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [name for name, *_ in rows] == [name for name, _ in cases()]
    assert [(name, seconds) for name, seconds, _, _ in rows if seconds > SECONDS] == []
    assert max(megabytes for _, _, megabytes, _ in rows) < MEGABYTES
    for name, _, _, problems in rows:
        assert problems or name.startswith("path "), f"{name} was accepted as a recipe"
        for where, text in problems or ():
            assert where.startswith("hostile.yaml"), (name, text)
            assert "\x1b" not in text, name
            assert len(text) < 2000, name
    assert os.listdir(tmp_path) == [], "something was written"


def test_checking_a_recipe_reads_no_data() -> None:
    """A path in a recipe is opened by the reader of the data, not by the check of the recipe."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_inblock
    checked = recipes.parse(b"tasks: {mood: {use: sentiment, folder: /proc/self/environ}}\nencoder: gru\n", "r.yaml")
    assert str(checked.tasks["mood"].options["folder"]) == "/proc/self/environ"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_inblock - before < 1000
