"""Run folders: never shared, never overwritten, truthful about how the run went, and free of secrets."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqkit.errors import Interrupted, RunError, UsageError
from seqkit.io import atomic
from seqkit.runs import claim
from seqkit.runs import run_folder as run_module
from seqkit.runs.claim import override_label, slug
from seqkit.runs.run_folder import Run

TEXT = b"# a recipe\nseed: 1\r\n"
RESOLVED = "seed: 1\nepochs: 3\n"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(name: str = "charlm", **options: Any) -> Run:
    return Run.create(name, text=TEXT, resolved=RESOLVED, **options)


def status_of(run: Run) -> dict[str, Any]:
    status = json.loads((run.folder / "status.json").read_text())
    assert isinstance(status, dict)
    return status


def rows_of(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


# ---- the folder


def test_a_new_folder_is_named_by_recipe_time_and_hash_and_is_complete(tmp_path: Path) -> None:
    run = make(facts={"plugins": [{"name": "charlm", "version": "1"}], "device": "cpu"})
    six = hashlib.sha256(RESOLVED.encode()).hexdigest()[:6]
    assert run.folder.parent == tmp_path / "runs"
    assert run.folder.match(f"charlm-20[0-9][0-9][0-9][0-9][0-9][0-9]T[0-9][0-9][0-9][0-9]Z-{six}")
    assert (run.folder / "recipe.yaml").read_bytes() == TEXT
    assert run.resolved == RESOLVED
    environment = json.loads((run.folder / "environment.json").read_text())
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["device"] == "cpu"
    assert environment["torch"]["threads"] >= 1
    assert {"torch", "numpy", "safetensors", "seqkit"} <= set(environment["packages"])
    assert not {"pytest", "mypy", "hypothesis"} & set(environment["packages"]), "developer tools change no number"
    assert json.loads((run.folder / "plugins.json").read_text()) == [{"name": "charlm", "version": "1"}]
    status = status_of(run)
    assert (status["state"], status["pid"], status["host"]) == ("created", os.getpid(), socket.gethostname())
    assert run.checkpoints.is_dir()
    assert run.tb.is_dir()
    assert "created by seqkit" in (run.folder / "run.log").read_text()


def test_the_same_minute_gets_another_number() -> None:
    names = {make().folder.name for _ in range(4)}
    assert len(names) == 4
    assert any(name.endswith("-2") for name in names)


def test_out_must_not_exist_or_be_empty(tmp_path: Path) -> None:
    assert make(out=tmp_path / "a" / "b").folder == tmp_path / "a" / "b"
    (tmp_path / "empty").mkdir()
    assert make(out=tmp_path / "empty").folder == tmp_path / "empty"
    for taken in ("a/b", "empty"):
        with pytest.raises(UsageError, match="never overwrites"):
            make(out=tmp_path / taken)
    (tmp_path / "file").write_text("kept")
    for wrong in ("file", "file/below"):
        with pytest.raises(UsageError, match="not a folder"):
            make(out=tmp_path / wrong)
    assert (tmp_path / "file").read_text() == "kept"


def test_a_planted_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessing the name of the next folder is of no use to an attacker: the run takes another one."""
    first = make()
    os.rename(first.folder, tmp_path / "victim")
    first.folder.symlink_to(tmp_path / "victim")
    before = sorted(os.listdir(tmp_path / "victim"))
    second = make()
    assert second.folder.parent == tmp_path / "runs"
    assert sorted(os.listdir(tmp_path / "victim")) == before
    (tmp_path / "target").write_text("untouched")
    for name in ("run.log", "metrics.jsonl"):
        (second.folder / name).unlink(missing_ok=True)
        (second.folder / name).symlink_to(tmp_path / "target")
    second.log("a line")
    with pytest.raises(RunError):
        second.log_metrics(1, {"x": 1.0})
    second.write_scores({"x": 1.0})
    assert (tmp_path / "target").read_text() == "untouched"


def test_the_umask_is_respected() -> None:
    before = os.umask(0o027)
    try:
        run = make()
        run.log_metrics(1, {"x": 1.0})
        run.write_scores({"x": 1.0})
    finally:
        os.umask(before)
    for path in (run.folder, *run.folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


NAMES = [
    *("", ".", "..", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "C:\\x", "con", "-rf", "--out", "~root"),
    *("$HOME", "`id`", "$(id)", "a;b", "a|b", "a&b", "a\nb", "a\0b", "a\tb", " ", "\u202eabc", "\u2028", "é"),
    *("日本語", "😀", "ﬁ", "x" * 5000, "%2e%2e%2f", ".hidden", "..\\..", "file:///x", "a" * 39 + "/../b", "*"),
    *("?", "[a]", "{a,b}", "\ud800"),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leaves_the_root(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "environment", dict)
    monkeypatch.setattr(run_module, "git", lambda: None)
    assert len(slug(name)) <= 40
    folder = make(name).folder
    assert folder.parent == tmp_path / "runs"
    assert folder.name.replace("-", "").isalnum()
    assert folder.name.isascii()
    assert not folder.name.startswith("-")


@pytest.mark.parametrize(
    ("flag", "label"),
    [
        ("train.optimizer.lr=0.01", "lr=0.01"),
        ("encoder={use: gru}", "encoder=_use_gru"),
        ("expect={}", ""),
        ("tasks.mood.folder=/home/me/my data", "folder=_home_me_my_data"),
        ("a.b=../../etc/passwd", "b=.._.._etc_passwd"),
        ("a.b=日本語", "b="),
        ("train.epochs=" + "1" * 100, "epochs=" + "1" * 17),
    ],
)
def test_an_override_is_part_of_a_new_folder_name(flag: str, label: str, tmp_path: Path) -> None:
    assert override_label(flag) == label
    run = Run.create("ner", text=b"", resolved="", root=tmp_path, overrides=[flag])
    assert run.folder.parent == tmp_path.resolve()
    assert run.folder.name.startswith(f"ner-{label}-20" if label else "ner-20")


def test_few_overrides_are_part_of_the_name(tmp_path: Path) -> None:
    run = Run.create("ner", text=b"", resolved="", root=tmp_path, overrides=[f"train.x{n}=1" for n in range(9)])
    assert run.folder.name.startswith("ner-x0=1-x1=1-x2=1-x3=1-20")


CROWD = """
import os, sys
from pathlib import Path
from seqkit.runs import run_folder
run_folder.environment, run_folder.git = dict, lambda: None
children = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        for _ in range(40):
            run = run_folder.Run.create("crowd", text=b"x", resolved="x")
            (run.folder / f"claimed-{os.urandom(8).hex()}").touch(exist_ok=False)
        os._exit(0)
    children.append(pid)
sys.exit(max(os.waitpid(pid, 0)[1] for pid in children))
"""


def test_320_starts_at_once_share_no_folder(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CROWD], check=True, timeout=120)
    folders = list((tmp_path / "runs").iterdir())
    assert len(folders) == 320
    assert all(len(list(folder.glob("claimed-*"))) == 1 for folder in folders)


CLAIM = """
import os, sys
from pathlib import Path
from seqkit.runs import run_folder
from seqkit.errors import UsageError
run_folder.environment, run_folder.git = dict, lambda: None
Path("empty").mkdir()
children = []
for _ in range(12):
    pid = os.fork()
    if pid == 0:
        try:
            run_folder.Run.create("x", text=b"x", resolved="x", out=Path("empty"))
        except UsageError:
            os._exit(2)
        os._exit(0)
    children.append(pid)
print(sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_one_empty_folder_is_claimed_by_one_run() -> None:
    result = subprocess.run([sys.executable, "-c", CLAIM], check=True, timeout=60, capture_output=True, text=True)
    assert result.stdout == f"{[0] + [2] * 11}\n"


def leave_by_a_kill(folder: Path, *names: str, pid: int = 2**22 + 1) -> None:
    """Make what `create` leaves when it is killed before the folder is complete."""
    folder.mkdir()
    atomic.write_json(folder / "status.json", json.loads(claim.first_status()) | {"pid": pid})
    for name in names:
        (folder / name).write_text("half")


def test_a_start_that_was_killed_does_not_block_the_next(tmp_path: Path) -> None:
    leave_by_a_kill(tmp_path / "x", "recipe.yaml", "plugins.json", ".tmp-1-ab")
    (tmp_path / "x" / "checkpoints").mkdir()
    with pytest.raises(UsageError, match=r"killed while it was being set up; start it again with --out"):
        Run.resume(tmp_path / "x")
    run = make(out=tmp_path / "x")
    assert run.resolved == RESOLVED
    assert not list(run.folder.glob(".tmp-*"))
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "status.json").write_text('{"state": "cre')
    assert make(out=tmp_path / "y").state == "created"


def test_nothing_else_than_leftovers_of_a_kill_is_removed(tmp_path: Path) -> None:
    leave_by_a_kill(tmp_path / "notes", "notes.txt")
    leave_by_a_kill(tmp_path / "alive", pid=os.getpid())
    leave_by_a_kill(tmp_path / "whole", "resolved.yaml")
    leave_by_a_kill(tmp_path / "trained")
    (tmp_path / "trained" / "checkpoints" / "step-00000001").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "status.json").write_text("x" * 1000)
    for name in ("notes", "alive", "whole", "trained", "other"):
        before = sorted(path.name for path in (tmp_path / name).iterdir())
        with pytest.raises(UsageError, match="never overwrites"):
            make(out=tmp_path / name)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == before


def test_a_full_disk_at_the_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"disk full: have .* in "):
        make()


# ---- the lock

HOLD = """
import sys, time
from pathlib import Path
from seqkit.runs import run_folder
run_folder.environment, run_folder.git = dict, lambda: None
run = run_folder.Run.create("held", text=b"x", resolved="x", out=Path("held"))
run.set_status("running")
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def held() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
        child.kill()


def test_a_live_run_cannot_be_resumed_and_a_dead_one_can(held: subprocess.Popen[str]) -> None:
    with pytest.raises(UsageError, match=rf"still running \(process {held.pid} on this machine\)"):
        Run.resume(Path("held"))
    assert Run.open(Path("held")).state == "running", "reading is allowed"
    held.kill()
    held.wait()
    run = Run.resume(Path("held"))
    assert status_of(run)["pid"] == os.getpid()
    assert status_of(run)["resumed"] == 1
    assert "ended without recording why" in (run.folder / "run.log").read_text()
    with pytest.raises(UsageError, match="still running"):
        Run.resume(Path("held"))


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({}, True),
        ({"pid_started": 1}, False),  # the number was given to another process
        ({"boot": "another"}, False),
        ({"pid": 2**22 + 1}, False),
        ({"pid": None}, False),
        ({"pid": -1}, False),
        ({"state": "interrupted"}, False),
        ({"state": "finished"}, False),
        ({"state": "failed"}, False),
        ({"host": "elsewhere"}, True),  # not visible from here, and its heartbeat is recent
        ({"host": "elsewhere", "heartbeat": "2020-01-01T00:00:00Z"}, False),
        ({"host": "elsewhere", "heartbeat": "nonsense"}, False),
    ],
)
def test_which_processes_count_as_alive(change: dict[str, Any], alive: bool) -> None:
    run = make()
    atomic.write_json(run.folder / "status.json", status_of(run) | change)
    if alive:
        with pytest.raises(UsageError, match="still running"):
            Run.resume(run.folder)
    else:
        assert Run.resume(run.folder).state == "running"


RACE = """
import os
from pathlib import Path
from seqkit.runs import run_folder
from seqkit.errors import UsageError
run_folder.environment, run_folder.git = dict, lambda: None
run = run_folder.Run.create("x", text=b"x", resolved="x", out=Path("stale"))
run.set_status("interrupted")
ready, go = os.pipe()
children = []
for _ in range(12):
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(ready, 1)
        try:
            run_folder.Run.resume(Path("stale"))
        except UsageError:
            os._exit(2)
        import time; time.sleep(1)
        os._exit(0)
    children.append(pid)
os.close(go)
print(sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_a_stale_lock_is_taken_over_by_one() -> None:
    result = subprocess.run([sys.executable, "-c", RACE], check=True, timeout=60, capture_output=True, text=True)
    assert result.stdout == f"{[0] + [2] * 11}\n"


@pytest.mark.parametrize("content", [None, "", "[]", "{", "\x00"])
def test_other_folders_are_refused(content: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    with pytest.raises(UsageError, match="no such run folder"):
        Run.resume(folder)
    folder.mkdir()
    (folder / "resolved.yaml").write_text("x")
    if content is not None:
        (folder / "status.json").write_text(content)
    with pytest.raises(UsageError, match="not a run folder"):
        Run.resume(folder)
    assert {path.name for path in folder.iterdir()} <= {"resolved.yaml", "status.json"}, "nothing was written into it"


def test_resume_reports_changes_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"torch": {"threads": 2}, "packages": {"torch": "1"}}
    monkeypatch.setattr(run_module, "environment", lambda: facts)
    run = make()
    run.set_status("interrupted")
    assert Run.resume(run.folder).environment_changes == []
    run.set_status("interrupted")
    facts = {"torch": {"threads": 1}, "packages": {"torch": "1"}}
    resumed = Run.resume(run.folder)
    assert resumed.environment_changes == ["torch.threads: 2 -> 1"]
    assert "changed since the run began: torch.threads: 2 -> 1" in (run.folder / "run.log").read_text()


# ---- the status


def test_the_context_records_how_the_run_ended() -> None:
    with make() as run:
        run.set_status("running")
    assert status_of(run)["state"] == "finished"
    with pytest.raises(Interrupted), make() as run:
        raise Interrupted("stopped after step 7", 143)
    assert status_of(run)["state"] == "interrupted"
    assert status_of(run)["reason"] == "stopped after step 7"
    with pytest.raises(KeyboardInterrupt), make() as run:
        raise KeyboardInterrupt
    assert status_of(run)["state"] == "interrupted"
    with pytest.raises(RunError), make() as run:
        raise RunError("loss is nan at step 3")
    assert status_of(run)["state"] == "failed"
    assert "loss is nan" in status_of(run)["reason"]
    log = (run.folder / "run.log").read_text()
    assert "Traceback" in log
    assert "loss is nan at step 3" in log


def test_a_resumed_run_has_no_reason() -> None:
    with contextlib.suppress(RunError), make() as run:
        raise RunError("old trouble")
    with Run.resume(run.folder) as again:
        assert again.opened_status["reason"] == "RunError: old trouble"
        assert "reason" not in status_of(again)


def test_heartbeats_are_written_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    writes: list[str] = []
    write = atomic.write_json
    monkeypatch.setattr(atomic, "write_json", lambda path, value: (writes.append(path.name), write(path, value)))
    clock = [run_module.time.monotonic()]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: clock[0])
    for _ in range(100):
        clock[0] += 1.0
        run.beat()
    assert 8 <= len(writes) <= 10
    assert set(writes) == {"status.json"}


# ---- metrics


def test_metrics_are_one_flat_line_per_step_and_strict_json() -> None:
    run = make()
    run.log_metrics(10, {"charlm/train/nats": 2.5, "lr": 0.1}, epoch=1)
    run.log_metrics(20, {"charlm/train/nats": float("nan"), "grad/norm": float("inf")})
    first, second = rows_of(run)
    assert first.pop("time") == pytest.approx(run_module.time.time(), abs=60)
    assert first == {"step": 10, "epoch": 1, "charlm/train/nats": 2.5, "lr": 0.1}
    assert second["charlm/train/nats"] == "NaN"
    assert second["grad/norm"] == "Infinity"
    assert second["epoch"] is None
    assert b"NaN," not in (run.folder / "metrics.jsonl").read_bytes().replace(b'"NaN"', b"")
    with pytest.raises(ValueError, match="may not be called 'time'"):
        run.log_metrics(30, {"time": 1.0})


def test_final_scores_are_flat_and_sorted() -> None:
    run = make()
    run.write_scores({"b/test/accuracy": 0.5, "a/test/nats": 1.0})
    assert list(json.loads((run.folder / "metrics.json").read_text())) == ["a/test/nats", "b/test/accuracy"]


@pytest.mark.parametrize(
    "torn", [b"", b'{"step": 4, "x"', b"\x00\x00\x00", b'{"step": 3, "epoch": null, "x": 3.0}', b"[1]"]
)
def test_rewind_drops_later_steps_and_a_torn_line(torn: bytes) -> None:
    run = make()
    for step in (1, 2, 3):
        run.log_metrics(step, {"x": float(step)})
    with (run.folder / "metrics.jsonl").open("ab") as stream:
        stream.write(torn)
    run.set_status("interrupted")
    resumed = Run.resume(run.folder)
    resumed.rewind(2)
    for step in (2, 3, 4):  # step 2 has a value already
        resumed.log_metrics(step, {"x": float(step)})
    assert [(row["step"], row["x"]) for row in rows_of(resumed)] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_rewind_to_before_the_first_step_empties_the_file() -> None:
    run = make()
    run.log_metrics(1, {"x": 1.0})
    run.rewind(-1)
    assert (run.folder / "metrics.jsonl").read_bytes() == b""
    run.log_metrics(1, {"x": 2.0})
    assert [row["x"] for row in rows_of(run)] == [2.0]


def test_a_last_line_without_its_end_does_not_spoil_the_next() -> None:
    run = make()
    run.log_metrics(1, {"x": 1.0})
    path = run.folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    run.rewind(1)
    run.log_metrics(2, {"x": 2.0})
    assert [row["step"] for row in rows_of(run)] == [1, 2]


def test_two_scores_at_one_step_are_both_kept() -> None:
    run = make()
    run.log_metrics(5, {"a/train/nats": 1.0})
    run.log_metrics(5, {"a/dev/nats": 2.0})
    run.log_metrics(5, {"a/dev/nats": 3.0})
    assert [sorted(set(row) - {"step", "epoch", "time"}) for row in rows_of(run)] == [["a/train/nats"], ["a/dev/nats"]]


def test_a_full_disk_stops_the_numbers_but_not_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make()
    for name in ("run.log", "metrics.jsonl"):
        (run.folder / name).unlink(missing_ok=True)
    handles = os.open

    def to_a_full_disk(path: Any, flags: int, *rest: int) -> int:
        return handles("/dev/full" if str(path).endswith((".log", ".jsonl")) else path, flags & ~os.O_CREAT, *rest)

    monkeypatch.setattr(os, "open", to_a_full_disk)
    run.log("lost")
    run.log("lost too")
    assert capsys.readouterr().err.count("messages are lost") == 1
    with pytest.raises(RunError, match="disk full"):
        run.log_metrics(1, {"x": 1.0})


def test_the_log_has_times_and_no_control_characters() -> None:
    run = make()
    run.log("two\nlines \x1b[2J \u202e end")
    stamp, _, rest = (run.folder / "run.log").read_text().partition("two\n")
    assert stamp.splitlines()[-1].endswith("Z ")
    assert rest == "    lines \\x1b[2J \\u202e end\n"


# ---- secrets

SECRETS = [f"s3cr3t-{number:02d}-x9Qz" for number in range(12)]


def test_no_planted_secret_reaches_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    s = SECRETS
    for number, name in enumerate(["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "MY_PASSWORD", "DATABASE_URL"]):
        monkeypatch.setenv(name, s[number])
    monkeypatch.setenv("SEQKIT_DATA", f"https://user:{s[5]}@host/data")
    subprocess.run(["git", "init", "-q", "."], check=True)
    subprocess.run(["git", "remote", "add", "origin", f"https://me:{s[6]}@example.org/x.git"], check=True)
    text = f"# https://u:{s[7]}@host/a?b=1\nurl: 'https://host/f?token={s[8]}&x=2'\n"
    run = Run.create("x", text=text.encode(), resolved=text, facts={"from": f"ftp://{s[9]}@h/"})
    with contextlib.suppress(RunError), run:
        run.log(f"Authorization: Bearer {s[10]}")
        run.log(f"api_key = '{s[11]}'")
        run.log(f"client_secret={s[0]} password: {s[1]}")
        run.write_data_facts({"tasks": [{"url": f"https://h/x?sig={s[2]}"}]})
        raise RunError(f"cannot read https://a:{s[3]}@h/x")
    written = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    assert [secret for secret in s if secret.encode() in written] == []
    assert b"https://***@host/a?b=1" in written, "only the secret is masked"


def test_a_recipe_without_secrets_is_kept_byte_for_byte() -> None:
    text = b"\xef\xbb\xbftoken: word\r\npassword: none # user@example.org https://x.org/a@b\n\xff\xfe"
    run = Run.create("x", text=text, resolved="x")
    assert (run.folder / "recipe.yaml").read_bytes() == text


# ---- imports and leftovers


def test_importing_it_imports_no_torch() -> None:
    code = "import sys, seqkit.runs.run_folder; print(sorted({'torch', 'tensorboard', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout in (
        "[]\n",
        "['numpy']\n",  # seqkit.types needs numpy
    )


def test_resume_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    run = make()
    run.set_status("interrupted")
    atomic.temporary(run.folder / "status.json").write_text("half")
    (run.folder / f"{atomic.TEMPORARY}link").symlink_to(tmp_path / "elsewhere")
    Run.open(run.folder)
    assert len(list(run.folder.glob(f"{atomic.TEMPORARY}*"))) == 2, "a reader removes nothing"
    Run.resume(run.folder)
    assert list(run.folder.glob(f"{atomic.TEMPORARY}*")) == []


def test_the_minutes_of_all_processes_of_a_run_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    now, computed = [100.0], [7.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(run_module.time, "process_time", lambda: computed[0])
    run = make()
    now[0] += 90.0
    computed[0] += 150.0  # of two threads
    run.set_status("interrupted")
    assert (status_of(run)["minutes"], status_of(run)["cpu_minutes"]) == (1.5, 2.5)
    now[0] += 6000.0  # between the two, nothing worked on it
    again = Run.resume(run.folder)
    now[0] += 30.0
    computed[0] += 15.0
    again.set_status("finished")
    assert (status_of(again)["minutes"], status_of(again)["cpu_minutes"]) == (2.0, 2.75)


def test_computing_is_not_recorded_where_it_was_not_from_the_start() -> None:
    run = make()
    run.set_status("interrupted")
    status = {key: value for key, value in status_of(run).items() if key != "cpu_minutes"} | {"minutes": 3.0}
    (run.folder / "status.json").write_text(json.dumps(status))
    again = Run.resume(run.folder)
    again.set_status("finished")
    assert "cpu_minutes" not in status_of(again)


def test_the_status_has_the_most_memory_that_any_process_of_the_run_held(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    assert 10_000_000 < status_of(run)["peak_memory"] < 100_000_000_000
    monkeypatch.setattr(run_module, "peak_memory", lambda: 10**12)
    run.set_status("running")
    monkeypatch.setattr(run_module, "peak_memory", lambda: 7)
    run.set_status("running")
    assert status_of(run)["peak_memory"] == 10**12
