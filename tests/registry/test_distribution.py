"""A distribution's files, hash, kind of installation and requirements: read from disk, never imported."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from seqkit.registry.distribution import Distribution, normal
from tests.helpers.third_party import install


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def info(site: Path, name: str = "vendor", version: str = "1.2") -> Path:
    return site / f"{name}-{version}.dist-info"


def package(site: Path, name: str, files: dict[str, str]) -> None:
    for path, text in files.items():
        (site / name / path).parent.mkdir(parents=True, exist_ok=True)
        (site / name / path).write_text(text)


class TestFiles:
    def test_a_module(self, site: Path) -> None:
        module = install(site)
        dist = Distribution("Vendor", [module])
        assert (dist.name, dist.version, dist.top_modules) == ("vendor", "1.2", (module,))
        assert list(dist.files) == [f"{module}.py"]
        assert dist.relative_path(str(site / f"{module}.py")) == f"{module}.py"
        assert dist.relative_path(__file__) is None
        assert dist.relative_path("") is None
        assert module not in sys.modules

    def test_a_package_without_its_data_and_caches(self, site: Path) -> None:
        install(site)
        package(
            site, "odd_pack", {"__init__.py": "", "deep/er.py": "", "a.so": "", "data.bin": "", "__pycache__/x.py": ""}
        )
        dist = Distribution("vendor", ["odd_pack.deep.er"])
        assert list(dist.files) == ["odd_pack/__init__.py", "odd_pack/a.so", "odd_pack/deep/er.py"]

    def test_other_modules_that_its_metadata_list(self, site: Path) -> None:
        module = install(site)
        package(site, "odd_more", {"__init__.py": ""})
        package(site, "odd_rest", {"__init__.py": ""})
        (info(site) / "top_level.txt").write_text("odd_more\n")
        (info(site) / "RECORD").write_text("odd_rest/__init__.py,,\nvendor-1.2.dist-info/METADATA,,\n../../bin/x,,\n")
        assert Distribution("vendor", [module]).top_modules == ("odd_more", "odd_rest", module)

    def test_a_package_in_a_shared_namespace(self, site: Path) -> None:
        install(site)
        package(site, "odd_space", {"ours/__init__.py": "", "yours/__init__.py": ""})
        dist = Distribution("vendor", ["odd_space.ours.tasks"])
        assert dist.top_modules == ("odd_space.ours",)
        assert list(dist.files) == ["odd_space/ours/__init__.py"]
        assert "odd_space" not in sys.modules

    def test_a_module_that_does_not_exist(self, site: Path) -> None:
        install(site)
        dist = Distribution("vendor", ["odd_nothing.at.all"])
        assert (dist.files, dist.sha256) == ({}, "")

    def test_a_distribution_that_is_not_installed(self) -> None:
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            Distribution("nothing-of-this-name")

    @pytest.mark.parametrize("name", ["a-b", "A_b", "a.B", "a--_b"])
    def test_names(self, name: str) -> None:
        assert normal(name) == "a-b"


class TestHash:
    def test_only_contents_and_names_change_it(self, site: Path) -> None:
        install(site)
        package(site, "odd_hash", {"__init__.py": "x = 1", "other.py": "y"})

        def sha256() -> str:
            return Distribution("vendor", ["odd_hash"]).sha256

        before = sha256()
        package(site, "odd_hash", {"__init__.py": "x = 1", "data.txt": "z", "__pycache__/m.py": "z"})
        assert sha256() == before
        package(site, "odd_hash", {"__init__.py": "x = 2"})
        assert sha256() != before
        package(site, "odd_hash", {"__init__.py": "x = 1"})
        assert sha256() == before
        (site / "odd_hash/other.py").rename(site / "odd_hash/another.py")
        assert sha256() != before

    def test_the_boundary_between_files_counts(self, site: Path) -> None:
        install(site)
        package(site, "odd_border", {"__init__.py": "", "a.py": "12", "b.py": "3"})
        before = Distribution("vendor", ["odd_border"]).sha256
        package(site, "odd_border", {"a.py": "1", "b.py": "23"})
        assert Distribution("vendor", ["odd_border"]).sha256 != before


class TestEditable:
    def project(self, site: Path, points: str) -> Path:
        folder = site / "a project"
        folder.mkdir()
        (folder / "pyproject.toml").write_text(f'[project]\nname = "vendor"\n{points}')
        facts = {"url": folder.as_uri(), "dir_info": {"editable": True}}
        (info(site) / "direct_url.json").write_text(json.dumps(facts))
        return folder

    def test_metadata_that_are_older_than_the_project(self, site: Path) -> None:
        module = install(site, entries={"seqkit.tasks": {"same": "task", "moved": "task", "gone": "task"}})
        points = (
            f'[project.entry-points."seqkit.tasks"]\nsame = "{module} : task"\nmoved = "else:where"\n'
            '[project.entry-points."seqkit.heads"]\nnew = "x:y"\n[project.entry-points."other"]\nz = "x:y"\n'
        )
        folder = self.project(site, points)
        dist = Distribution("vendor")
        assert dist.editable == folder
        assert dist.stale() == [
            "seqkit.heads new is in pyproject.toml and not installed yet",
            "seqkit.tasks gone is installed and no longer in pyproject.toml",
            f"seqkit.tasks moved is installed as {module}:task, but is else:where in pyproject.toml",
        ]

    @pytest.mark.parametrize("text", ["not toml [", "[project]\nname = 'x'\nentry-points = 3\n", "[tool]\n"])
    def test_a_project_that_cannot_be_read_is_not_stale(self, site: Path, text: str) -> None:
        install(site)
        (self.project(site, "") / "pyproject.toml").write_text(text)
        assert Distribution("vendor").stale() == []

    @pytest.mark.parametrize("text", ["", "[]", "no json", '{"url": "file:///x", "dir_info": {}}', '{"dir_info": 3}'])
    def test_other_ways_of_installing(self, site: Path, text: str) -> None:
        install(site)
        (info(site) / "direct_url.json").write_text(text)
        assert Distribution("vendor").editable is None
        assert Distribution("vendor").stale() == []

    def test_the_metadata_of_seqkit_are_not_stale(self) -> None:
        assert Distribution("seqkit").stale() == []


class TestRequirements:
    @pytest.mark.parametrize(
        ("lines", "module", "command"),
        [
            (["nothing-like-it>=2"], "nothing_like_it", 'pip install "nothing-like-it>=2"'),
            (['nothing-like-it>=2; extra == "audio"'], "nothing_like_it", 'pip install "vendor[audio]"'),
            (["Nothing.Like_It"], "nothing_like_it", 'pip install "Nothing.Like_It"'),
            (["numpy", "another-name>1"], "nothing_like_it", 'perhaps pip install "another-name>1"'),
            (["numpy", 'other; extra == "b"', 'more; extra == "b"'], "nope", 'perhaps pip install "vendor[b]"'),
            (['other; extra == "a"', 'more; extra == "b"'], "nope", ""),
            (["numpy", "not a requirement at all ,,,"], "nope", ""),
            ([], "nope", ""),
        ],
    )
    def test_the_command_that_brings_a_module(self, site: Path, lines: list[str], module: str, command: str) -> None:
        install(site)
        with (info(site) / "METADATA").open("a") as file:
            file.writelines(f"Requires-Dist: {line}\n" for line in lines)
        assert Distribution("vendor").install_command(module) == command

    def test_its_summary(self, site: Path) -> None:
        install(site)
        assert Distribution("vendor").summary == ""
        with (info(site) / "METADATA").open("a") as file:
            file.write("Summary: Sample   things.\n")
        assert Distribution("vendor").summary == "Sample things."
