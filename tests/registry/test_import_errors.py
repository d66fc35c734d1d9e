"""Diagnoses of failed imports: a missing dependency is told from a broken plugin, and each has its advice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqkit.errors import PluginError
from seqkit.registry import registry
from seqkit.registry.distribution import Distribution
from seqkit.registry.import_errors import MAX_QUOTED, Diagnosis, describe_error, diagnose, locate_in_dump
from tests.helpers.third_party import install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def failed(module: str) -> Diagnosis:
    with pytest.raises(PluginError):
        registry.load("tasks", "splice")
    (failure,) = [failure for failure in registry.failures() if failure.plugin.module == module]
    return failure.diagnosis


class TestMissing:
    @pytest.mark.parametrize(
        ("requires", "code", "advice"),
        [
            ("odd-audio>=2", "import odd_audio", 'pip install "odd-audio>=2"'),
            ('odd-audio>=2; extra == "audio"', "import odd_audio.inner", 'pip install "vendor[audio]"'),
            (
                'other-name; extra == "x"',
                "from odd_audio import y",
                "install what brings the module 'odd_audio', perhaps pip install \"vendor[x]\"",
            ),
            (
                "",
                "import odd_audio",
                "install what brings the module 'odd_audio'; the metadata of vendor do not say what that is",
            ),
            (
                "",
                "from seqkit import MissingExtra\nraise MissingExtra('splice', 'audio', distribution='vendor')",
                "",
            ),
        ],
    )
    def test_it_has_to_be_installed(self, site: Path, requires: str, code: str, advice: str) -> None:
        diagnosis = failed(install(site, code=code, requires=requires))
        assert diagnosis.missing
        assert diagnosis.advice == advice
        assert advice or diagnosis.cause == 'splice needs an extra: pip install "vendor[audio]"'

    @pytest.mark.parametrize(
        ("code", "advice"),
        [
            ("import {module}.more", "has no module '{module}.more'"),
            (
                "import seqkit.no_such_module",
                "seqkit 0.1.0 has no 'seqkit.no_such_module'; install a version",
            ),
            ("from seqkit import Nothing", "seqkit 0.1.0 has no such name; install a version of vendor made for it"),
            ("import os.nothing", "reinstall or remove vendor, or tell its author"),
            ("import json\njson.nothing", "reinstall or remove vendor, or tell its author"),
        ],
    )
    def test_other_import_errors_are_of_the_plugin(self, site: Path, code: str, advice: str) -> None:
        module = install(site, code="")
        (site / f"{module}.py").write_text(code.format(module=module))
        diagnosis = failed(module)
        assert not diagnosis.missing
        assert advice.format(module=module) in diagnosis.advice


class TestStale:
    def test_a_module_or_a_name_that_is_gone_from_an_editable_project(self, site: Path) -> None:
        facts = {"url": (site / "project").as_uri(), "dir_info": {"editable": True}}
        for number, gone in enumerate(("module", "name")):
            module = install(site, code="other = 1", version=f"1.{number}")
            if gone == "module":
                (site / f"{module}.py").unlink()
            (site / f"vendor-1.{number}.dist-info/direct_url.json").write_text(json.dumps(facts))
            diagnosis = failed(module)
            assert not diagnosis.missing
            assert f"install it again: pip install -e {site / 'project'}" in diagnosis.advice
            for path in (site / f"vendor-1.{number}.dist-info").iterdir():
                path.unlink()
            (site / f"vendor-1.{number}.dist-info").rmdir()

    def test_a_module_that_is_gone_for_good(self, site: Path) -> None:
        module = install(site)
        (site / f"{module}.py").unlink()
        diagnosis = failed(module)
        assert diagnosis.advice == f"it has no module '{module}'; reinstall or remove vendor, or tell its author"


class TestReported:
    def test_where_is_the_innermost_line_of_the_plugin(self, site: Path) -> None:
        (site / "odd_helper.py").write_text("def go():\n    raise ValueError('deep')\n")
        module = install(site, code="import odd_helper\n\ndef inner():\n    odd_helper.go()\n\ninner()")
        diagnosis = failed(module)
        assert diagnosis.where == f"{module}.py:4"
        assert str(diagnosis) == f"ValueError: deep ({module}.py:4); reinstall or remove vendor, or tell its author"

    def test_the_traceback_has_frames_of_the_plugin_only(self, site: Path) -> None:
        code = "try:\n    {}['first']\nexcept KeyError as error:\n    raise ValueError('second') from error"
        diagnosis = failed(install(site, code=code))
        assert "KeyError: 'first'" in diagnosis.trace
        assert "ValueError: second" in diagnosis.trace
        assert "importlib" not in diagnosis.trace
        assert "registry.py" not in diagnosis.trace
        assert diagnosis.trace.count("  File ") == 2

    def test_an_exception_that_cannot_describe_itself(self) -> None:
        class Silent(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        assert describe_error(Silent()) == "Silent"

    def test_a_long_message_is_cut(self) -> None:
        assert len(describe_error(ValueError("x" * 9999))) == len("ValueError: ") + MAX_QUOTED

    def test_a_distribution_that_is_gone(self) -> None:
        diagnosis = diagnose(ValueError("x"), "nothing-of-this-name", "a:b")
        assert (diagnosis.cause, diagnosis.where) == ("ValueError: x", "")

    def test_frames_of_faulthandler(self, site: Path) -> None:
        module = install(site)
        frames = ("/x/y.py", 3), (f"{site}/{module}.py", 7), (f"{site}/{module}.py", 9)
        dump = "Fatal\n\nCurrent thread 0x1 (most recent call first):\n"
        dump += "".join(f'  File "{name}", line {line} in f\n' for name, line in frames)
        assert locate_in_dump(dump, Distribution("vendor", [module])) == f"{module}.py:7"
        assert locate_in_dump("", Distribution("vendor", [module])) == ""
