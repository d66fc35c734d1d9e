"""A run with malicious texts, labels, recipe and environment: nothing leaves its folder, no secret gets into it."""

from __future__ import annotations

import html
import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from seqkit.cli import main
from seqkit.runs import run_folder as run_module
from seqkit.runs.claim import slug
from seqkit.runs.run_folder import Run
from seqkit.runs.tensorboard import Board
from tests.runs.test_tensorboard import page_of, text

SCRIPTS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)>", "<a href='javascript:alert(1)'>x</a>", "[x](javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)", "![x](x onerror=alert(1))", "<style>@import 'http://x'</style>",
    "<link rel=stylesheet href=http://x>", "<meta http-equiv=refresh content=0;url=http://x>", "<base href=http://x>",
    "<object data=http://x>", "<embed src=http://x>", "<form action=http://x><input></form>", "<!--><script>x</script>",
    "<![CDATA[<script>x</script>]]>", "\"><script>x</script>", "'><script>x</script>", "`<script>x</script>`",
    "</td></tr></table><script>x</script>", "&lt;script&gt;x&lt;/script&gt;", "&#60;script&#62;x", "<scr<script>ipt>x",
    "<SCRIPT SRC=//x/y.js></SCRIPT>", "<math><mtext></mtext><script>x</script></math>", "<details open ontoggle=x>",
    "javascript:alert(1)//<x>", "<x onclick=alert(1)>y</x>", "<http://x/><b>", "| <b> | </b> |",
    "<video><source onerror=x>",
]  # fmt: skip

PATHS = [
    *(
        "..",
        ".",
        "../../etc/passwd",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "C:\\x",
        "con",
        "NUL",
        "-rf",
        "--out",
        "~root",
        "~/x",
    ),
    *("$HOME", "`id`", "$(id)", "a;b", "a|b", "a&b", " ", "\u202eabc", "\u2028", "é", "日本語", "😀", "ﬁ", "x" * 5000),
    *("%2e%2e%2f", ".hidden", "..\\..", "file:///x", "a" * 39 + "/../b", "*", "?", "[a]", "{a,b}", "a:b", "a::$DATA"),
    *("LPT1", "aux.txt", "com9.", "x.", "x ", "...", "....", "~", "-", "--", "_", "__class__", "{0}", "%s%n", "${x}"),
    *(
        "!ls",
        "#x",
        "@x",
        "a\x7fb",
        "\x1b[2J",
        "\ufeffx",
        "\u200b",
        "i\u0307",
        "ẞ",
        "Å",
        "A\u030a",
        "１",
        "．．／",
        "∕etc",
    ),
    *("..;/", "..%00/", "%00", "a%0a", "\\\\server\\x", "\\\\?\\C:\\x", "/dev/null", "/proc/self/mem", "http://x/y"),
    *(
        "s3://b/k",
        "a?b=c",
        "a#b",
        "'",
        '"',
        "''",
        '""',
        "<>",
        "|",
        ">x",
        "<x",
        "a>b",
        "(x)",
        "a,b",
        "a=b",
        "+x",
        "=1+1",
    ),
    *("\u0430bc", "..\u2215", "a/./b", "./x", "x/", "//x", "a\u0301", "\u2066x", "\U000e0001", "@SUM(1)", "-1", "null"),
]

LABELS = [name for name in (*PATHS, *SCRIPTS) if not set(name) & set("\t\n\r\0") and name.strip()]


def test_the_number_of_cases() -> None:
    assert len(set(PATHS)) >= 100
    assert len(set(SCRIPTS)) >= 30


def test_a_hundred_names_of_runs_stay_inside_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "environment", dict)
    monkeypatch.setattr(run_module, "git", lambda: None)
    for name in PATHS:
        folder = Run.create(name, text=b"x", resolved="x", root=tmp_path / "runs").folder
        assert folder.parent == tmp_path / "runs", name
        assert re.fullmatch(r"[a-zA-Z0-9-]+", folder.name), name
        assert not folder.name.startswith("-"), name
        assert len(slug(name)) <= 40, name
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


SECRETS = [f"s3cr3t{number:02d}x9Qz7Lm" for number in range(20)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished run and one failed run among secrets, of texts and labels that are paths and scripts."""
    folder = tmp_path_factory.mktemp("runs")
    s = SECRETS
    lines = [f"{script} good\t{label}" for script, label in zip(SCRIPTS * 9, LABELS, strict=False)]
    for split in ("train", "dev", "test"):
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "hostile <b>.yaml"
    path.write_text(
        f"# https://user:{s[0]}@example.org/data?token={s[1]}&x=1 <script>alert(1)</script>\n"
        f"# ssh://{s[2]}@example.org/x  hf_{s[3]}abcdefghij\n"
        f"tasks: {{mood: {{use: sentiment, folder: '{folder}'}}}}\n"
        "encoder: {use: gru, dim: 4, hidden: 4}\ntrain: {steps: 2, batch: 8}\n"
        f"# password: none; https://example.org/f?api_key={s[4]}#x\n",
        encoding="utf-8",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SEQKIT_CACHE", str(folder / "cache"))
        for number, name in enumerate(
            ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "MY_PASSWORD", "DATABASE_URL", "WANDB_API_KEY", "X"),
            5,
        ):
            patch.setenv(name, s[number])
        patch.setenv("HTTPS_PROXY", f"http://me:{s[12]}@proxy:3128")
        patch.setenv("SEQKIT_DATA", f"https://user:{s[13]}@host/data?signature={s[14]}")
        subprocess.run(["git", "init", "-q", "."], check=True)
        subprocess.run(["git", "remote", "add", "origin", f"https://me:{s[15]}@example.org/x.git"], check=True)
        subprocess.run(["git", "config", "credential.helper", f"!echo {s[16]}"], check=True)
        before = os.umask(0)
        try:
            result = CliRunner().invoke(main, ["run", str(path), "--out", str(folder / "run"), "--quiet"])
            assert result.exit_code == 0, result.output
            os.umask(0o022)
            broken = folder / "broken.yaml"
            data = f"'{folder}/x?token={s[17]}&key={s[18]}'"
            broken.write_text(
                f"tasks: {{mood: {{use: sentiment, folder: {data}}}}}\nencoder: gru\n"
                f"# Authorization: Basic https://{s[19]}@h/\n"
            )
            failed = CliRunner().invoke(main, ["run", str(broken), "--out", str(folder / "failed"), "--quiet"])
            assert failed.exit_code == 2, failed.output
        finally:
            os.umask(before)
    return folder


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_no_planted_secret_is_in_a_run_folder(runs: Path) -> None:
    assert (runs / "failed" / "status.json").exists()
    for folder in (runs / "run", runs / "failed"):
        contents = {path: path.read_bytes() for path in files(folder)}
        assert contents
        leaks = [
            (secret, path.name)
            for secret in SECRETS
            for path, content in contents.items()
            if secret.encode() in content
        ]
        assert leaks == []
    assert b"https://***@example.org/data?token=***&x=1" in (runs / "run/recipe.yaml").read_bytes()


def test_labels_that_are_paths_make_no_file(runs: Path) -> None:
    kinds = {path.relative_to(runs).parts[0] for path in files(runs)}
    assert kinds == {
        ".git",
        "cache",
        "run",
        "failed",
        "broken.yaml",
        "hostile <b>.yaml",
        "train.tsv",
        "dev.tsv",
        "test.tsv",
    }
    for path in files(runs / "run") + files(runs / "cache"):
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", str(path.relative_to(runs))), path
    known = json.loads((runs / "run/model/fields.json").read_text(encoding="utf-8"))
    assert "../../etc/passwd" in json.dumps(known), "the labels were read"


def test_nothing_is_writable_by_the_world_under_the_usual_umask(runs: Path) -> None:
    """With a umask of 0 the user has chosen otherwise. There are no links in a run folder either."""
    for path in (runs / "failed", *(runs / "failed").rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & stat.S_IWOTH, path
    assert not [path for path in (runs / "run").rglob("*") if path.is_symlink()]


def test_tensorboard_shows_malicious_text_as_text(runs: Path) -> None:
    """As its text plugin converts Markdown to HTML."""
    shown = page_of(text(runs / "run" / "tb", "mood/dev/samples"))
    texts = [html.escape(f"{script} good") for script in SCRIPTS if "<" in script]
    assert sum(text in shown for text in texts) >= 3, "which samples are shown depends on what the model gets wrong"
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|td|th|strong)>)", shown), shown
    recipe = page_of(text(runs / "run" / "tb", "recipe"))
    assert not re.search(r"<(?!/?(pre|code)>)", recipe), recipe


def test_thirty_scripts_in_a_table_are_thirty_texts(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.table("samples", ["text", "score"], [[script, "x"] for script in SCRIPTS])
    board.source("recipe", "\n".join(SCRIPTS))
    board.close()
    page = page_of(text(tmp_path, "samples"))
    assert not re.search(r"<(?!/?(table|thead|tbody|tr|td|th|strong)>)", page), page
    cells = [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", page)]
    assert cells[::2] == SCRIPTS
    source = page_of(text(tmp_path, "recipe"))
    assert not re.search(r"<(?!/?(pre|code)>)", source), source
