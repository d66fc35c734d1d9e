"""Plugins: found without an import, loaded one by one, and without effect on runs that do not name them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from seqkit.errors import PluginError
from seqkit.registry import registry
from tests.helpers.third_party import install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path."""
    for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def names(kind: str | None = None) -> list[str]:
    return [plugin.full_name for plugin in registry.installed(kind)]


class TestInstalled:
    def test_the_plugins_of_seqkit_are_entry_points_like_all_others(self) -> None:
        assert {"seqkit:rnn", "seqkit:lstm", "seqkit:gru", "seqkit:none"} <= set(names("encoders"))
        assert {"seqkit:classify", "seqkit:tag", "seqkit:language", "seqkit:regress"} <= set(names("heads"))
        assert {"seqkit:charlm", "seqkit:sentiment"} <= set(names("tasks"))

    def test_metadata_are_read_and_nothing_is_imported(self, site: Path) -> None:
        module = install(
            site, code="raise RuntimeError('imported')", requires="seqkit (>=0.0.1,<9) ; python_version>'3'"
        )
        (plugin,) = [plugin for plugin in registry.installed("tasks") if plugin.name == "splice"]
        assert plugin == registry.Plugin("tasks", "splice", "vendor", "1.2", f"{module}:task", ">=0.0.1,<9")
        assert module not in sys.modules

    def test_sorted_by_kind_name_and_distribution(self, site: Path) -> None:
        install(site, distribution="zz", entries={"seqkit.tasks": {"a": "x"}, "seqkit.heads": {"b": "x"}})
        install(site, distribution="aa", entries={"seqkit.tasks": {"a": "x"}})
        plugins = registry.installed()
        assert plugins == sorted(plugins, key=lambda plugin: (plugin.kind, plugin.name, plugin.distribution))
        assert [name for name in names("tasks") if name.endswith(":a")] == ["aa:a", "zz:a"]

    def test_a_distribution_that_is_on_the_path_twice_counts_once(self, site: Path) -> None:
        first = install(site, version="1.0")
        other = site / "other"
        other.mkdir()
        install(other, version="2.0", distribution="Vendor")
        sys.path.append(str(other))
        try:
            plugins = [plugin for plugin in registry.installed("tasks") if plugin.name == "splice"]
        finally:
            sys.path.remove(str(other))
        assert [(plugin.version, plugin.value) for plugin in plugins] == [("1.0", f"{first}:task")]

    def test_a_distribution_of_the_same_name_earlier_on_the_path_hides_it(self, site: Path) -> None:
        install(site, version="1.0", entries={"other": {"x": "y"}})
        other = site / "other"
        other.mkdir()
        install(other, version="2.0")
        sys.path.append(str(other))
        try:
            assert "vendor:splice" not in names()
        finally:
            sys.path.remove(str(other))

    @pytest.mark.parametrize(
        ("file", "content"),
        [
            ("METADATA", None),
            ("METADATA", b""),
            ("METADATA", b"Name: \xff\xfe\n"),
            ("METADATA", b"Version: 1\n\nName: vendor\n"),
            ("entry_points.txt", b"[seqkit.tasks]\nno value\n"),
            ("entry_points.txt", b"[seqkit.tasks]\n\xff = a:b\n"),
        ],
    )
    def test_damaged_metadata_hide_nothing_else(self, site: Path, file: str, content: bytes | None) -> None:
        install(site, distribution="aa", entries={"seqkit.tasks": {"a": "x"}})
        install(site, distribution="vendor")
        install(site, distribution="zz", entries={"seqkit.tasks": {"z": "x"}})
        path = site / "vendor-1.2.dist-info" / file
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert {"aa:a", "zz:z", "seqkit:charlm"} <= set(names())
        assert "vendor:splice" not in names()
        assert list(registry.unreadable()) == [str(site / "vendor-1.2.dist-info")]
        shutil.rmtree(path.parent)
        names()
        assert registry.unreadable() == {}

    def test_what_is_installed_and_removed_meanwhile_is_seen(self, site: Path) -> None:
        install(site, distribution="first")
        assert "first:splice" in names()
        install(site, distribution="second")
        assert {"first:splice", "second:splice"} <= set(names())
        shutil.rmtree(site / "first-1.2.dist-info")
        assert "first:splice" not in names()

    def test_metadata_are_read_once_while_nothing_changes(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(site)
        before = names()
        monkeypatch.setattr("importlib.metadata.distributions", lambda: pytest.fail("read again"))
        assert names() == before

    @pytest.mark.parametrize("value", ["", "no colon", "..up:x", ":x", "a:b:c", "a b:c"])
    def test_an_impossible_entry_point(self, site: Path, value: str) -> None:
        install(site)
        (site / "vendor-1.2.dist-info/entry_points.txt").write_text(f"[seqkit.tasks]\nsplice = {value}\n")
        assert "vendor:splice" in names() or registry.unreadable()
        with pytest.raises(PluginError, match="splice"):
            registry.load("tasks", "splice")

    def test_an_unknown_kind(self) -> None:
        with pytest.raises(ValueError, match="tasks, encoders, heads"):
            registry.installed("layers")

    @pytest.mark.parametrize(
        ("setting", "seen"),
        [("off", []), ("aa", ["aa:a"]), ("other, b", ["zz:b"]), ("zz,aa", ["aa:a", "zz:b"]), ("", [])],
    )
    def test_a_restriction_never_hides_the_plugins_of_seqkit(
        self, site: Path, monkeypatch: pytest.MonkeyPatch, setting: str, seen: list[str]
    ) -> None:
        install(site, distribution="aa", entries={"seqkit.tasks": {"a": "x"}})
        install(site, distribution="zz", entries={"seqkit.tasks": {"b": "x"}})
        monkeypatch.setenv("SEQKIT_PLUGINS", setting)
        assert [name for name in names("tasks") if not name.startswith("seqkit:")] == seen
        assert "seqkit:charlm" in names("tasks")
        with pytest.raises(PluginError, match="SEQKIT_PLUGINS or --no-plugins hides some"):
            registry.load("tasks", "nothing-like-it")


class TestLoad:
    def test_a_factory_is_imported_on_first_use(self, site: Path) -> None:
        module = install(site)
        factory = registry.load("tasks", "splice")
        assert factory is sys.modules[module].task
        assert registry.load("tasks", "vendor:splice") is factory

    def test_an_unknown_name_is_answered_with_the_known_ones(self) -> None:
        with pytest.raises(PluginError) as caught:
            registry.load("encoders", "lstn")
        assert str(caught.value).startswith("no encoder is called 'lstn'; did you mean 'lstm' or 'slstm' or 'lnlstm'? ")
        for name in ("gru", "lstm", "none", "rnn"):
            assert name in str(caught.value)

    @pytest.mark.parametrize("name", ["./vowels.py", "vowels.py", "vowels/task", "my.vowels:vowels"])
    def test_a_file_is_no_plugin_until_it_is_installed(self, site: Path, name: str) -> None:
        with pytest.raises(PluginError, match=re.escape(f"'{name}'; a recipe names no file or module")) as caught:
            registry.find("tasks", name)
        assert "pip install -e ." in str(caught.value)
        assert "available" not in str(caught.value)

    def test_of_two_plugins_of_one_name_none_is_preferred(self, site: Path) -> None:
        first = install(site, distribution="aa")
        second = install(site, distribution="zz")
        with pytest.raises(PluginError, match=r"'aa:splice' \(1.2\) and 'zz:splice' \(1.2\)"):
            registry.load("tasks", "splice")
        assert registry.load("tasks", "aa:splice").__module__ == first
        assert registry.load("tasks", "zz:splice").__module__ == second

    def test_a_plugin_for_another_seqkit_is_not_imported(self, site: Path) -> None:
        module = install(site, requires="seqkit>=99,<100")
        with pytest.raises(PluginError, match=r"vendor 1.2 needs seqkit>=99,<100, and this is seqkit \d"):
            registry.load("tasks", "splice")
        assert module not in sys.modules

    @pytest.mark.parametrize(
        ("code", "cause"),
        [
            ("import nothing_of_this_name", "install what brings the module 'nothing_of_this_name'"),
            ("raise ImportError('no\\n  luck')", "ImportError: no luck (vendor_"),
            ("def task(:", "SyntaxError"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt"),
            ("class Own(BaseException): ...\nraise Own('mine')", "Own: mine"),
            ("other = 1", "has no attribute 'task'"),
            ("task = 3", "is int, not a class or a function"),
            ("def deep(): deep()\ndeep()", "RecursionError"),
            ("from seqkit import MissingExtra\nraise MissingExtra('speech', 'speech')", 'pip install "seqkit[speech]"'),
        ],
    )
    def test_whatever_the_import_does_becomes_a_sentence(self, site: Path, code: str, cause: str) -> None:
        module = install(site, code=code)
        for _ in range(2):  # the second time the error is repeated without an import
            with pytest.raises(PluginError) as caught:
                registry.load("tasks", "splice")
            text = str(caught.value)
            assert text.startswith("the task 'splice' of vendor 1.2 does not load: ")
            assert cause in text
            assert "\n" not in text
            (site / f"{module}.py").write_text("def task(*, k: int = 1): ...")
        (failure,) = [failure for failure in registry.failures() if failure.plugin.value == f"{module}:task"]
        assert failure.diagnosis.cause.split()[0].rstrip(":") in failure.diagnosis.trace
        assert registry.load("encoders", "lstm")  # other plugins still load

    def test_an_author_may_see_the_error_itself(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        install(site, code="1 / 0")
        monkeypatch.setenv("SEQKIT_RAISE_PLUGIN_ERRORS", "1")
        with pytest.raises(ZeroDivisionError):
            registry.load("tasks", "splice")

    def test_what_it_prints_goes_to_stderr(self, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
        install(site, code="print('noise')\ndef task(): ...")
        registry.load("tasks", "splice")
        out, err = capsys.readouterr()
        assert (out, err) == ("", "noise\n")

    def test_so_does_what_c_code_prints(self, site: Path, capfd: pytest.CaptureFixture[str]) -> None:
        install(site, code="import os\nos.write(1, b'more')\ndef task(): ...")
        print("before")
        registry.load("tasks", "splice")
        print("after")
        out, err = capfd.readouterr()
        assert (out, err) == ("before\nafter\n", "more")

    def test_signal_handlers_are_restored(self, site: Path) -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        code = "import signal\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\ndef task(): ..."
        install(site, code=code)
        registry.load("tasks", "splice")
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    def test_a_real_ctrl_c_comes_through(self, site: Path) -> None:
        # A process started in the background may have inherited "ignore".
        signal.signal(signal.SIGINT, signal.default_int_handler)
        before = signal.getsignal(signal.SIGINT)
        code = f"import os, time\nos.kill({os.getpid()}, 2)\ntime.sleep(5)\ndef task(): ..."
        module = install(site, code=code)
        with pytest.raises(KeyboardInterrupt):
            registry.load("tasks", "splice")
        assert signal.getsignal(signal.SIGINT) is before
        assert not [failure for failure in registry.failures() if failure.plugin.value == f"{module}:task"]
