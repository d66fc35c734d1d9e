"""The task `images`: the field, its layer, IDX files, tables and folders of pictures."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from seqkit_images import images
from seqkit_images.fields import Image
from seqkit_images.files import folder_images, idx, idx_images, table_images
from seqkit_images.layers import moved

from seqkit import DataError, Flaw, UsageError
from seqkit.cli import main
from seqkit.reading import collect_reports
from tests.helpers.data import needs_data

PIXELS = np.arange(12).reshape(3, 4)


class TestField:
    @pytest.mark.parametrize(
        ("order", "expected"),
        [("rows", PIXELS), ("columns", PIXELS.T), ("pixels", PIXELS.reshape(12, 1))],
    )
    def test_what_a_step_is(self, order: Any, expected: np.ndarray) -> None:
        field = Image(order).fit([PIXELS])
        assert np.array_equal(field.encode(PIXELS), expected)
        assert field.size == expected.shape[1]
        assert field.decode(field.encode(PIXELS)) == PIXELS.tolist()
        assert Image(order).restore(json.loads(json.dumps(field.state()))) == field

    def test_permuted_pixels_are_in_one_random_order(self) -> None:
        field = Image("permuted", permutation=3).fit([PIXELS])
        steps = field.encode(PIXELS)[:, 0]
        assert sorted(steps) == list(range(12))
        assert steps.tolist() != list(range(12))
        assert np.array_equal(field.encode(PIXELS * 2)[:, 0], steps * 2)
        assert field.decode(field.encode(PIXELS)) == PIXELS.tolist()
        assert not np.array_equal(Image("permuted", permutation=4).fit([PIXELS]).encode(PIXELS)[:, 0], steps)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([[1, 2]], r"has 1 x 2 pixels \(height x width\), and training has 3 x 4"),
            ([[1.5] * 4] * 3, "should have whole numbers only"),
            ([[-1] * 4] * 3, "should have numbers from 0 to 255, but has -1 to -1"),
            ([[256] * 4] * 3, "from 0 to 255, but has 256"),
            ([1, 2], r"has shape \(2,\)"),
            ([[1], [1, 2]], "rows of different widths"),
            ([], "is empty"),
        ],
    )
    def test_what_is_no_image_is_refused(self, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Image().fit([PIXELS]).encode(value)

    def test_rows_may_come_in_pieces(self) -> None:
        field = Image().fit([PIXELS])
        pieces = [field.feed(PIXELS[:1]), field.feed([]), field.feed(PIXELS[1:], end=True)]
        assert np.array_equal(np.concatenate([rows for rows, _ in pieces if rows is not None]), field.encode(PIXELS))
        with pytest.raises(TypeError, match="order: columns"):
            Image("columns").fit([PIXELS]).feed(PIXELS)

    def test_a_line_is_json(self) -> None:
        assert Image().parse("[[1, 2]]") == [[1, 2]]
        with pytest.raises(ValueError, match="should be a JSON list of rows"):
            Image().parse("1 2")


class TestLayer:
    def test_an_image_is_moved_as_by_plain_loops(self) -> None:
        draw = torch.Generator().manual_seed(1)
        x = torch.rand(6, 5, 4, generator=draw)
        lengths = torch.tensor([5, 5, 3, 5, 4, 5])
        along, across = torch.randint(-2, 3, (2, 6), generator=draw)
        expected = torch.zeros_like(x)
        for b in range(6):
            for t in range(int(lengths[b])):
                for d in range(4):
                    source, column = t - int(along[b]), d - int(across[b])
                    if 0 <= source < int(lengths[b]) and 0 <= column < 4:
                        expected[b, t, d] = x[b, source, column]
        assert torch.equal(moved(x, lengths, along, across), expected)

    def test_training_alone_moves_images(self) -> None:
        layer = Image("rows", 1).fit([PIXELS]).layer(5)
        x, lengths = torch.tensor(PIXELS.astype(np.uint8))[None], torch.tensor([3])
        layer.eval()
        assert torch.equal(layer(x, lengths)[0], layer.linear(x * layer.scale))
        torch.manual_seed(0)
        layer.train()
        assert any(not torch.equal(layer(x, lengths)[0], layer.linear(x * layer.scale)) for _ in range(9))


def write_idx(path: Path, array: np.ndarray) -> Path:
    data = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


class TestFiles:
    def test_idx(self, tmp_path: Path) -> None:
        array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
        pixels = write_idx(tmp_path / "images.idx.gz", array)
        labels = write_idx(tmp_path / "labels.idx", np.array([7, 9], np.uint8))
        first, second = idx_images(pixels, labels)
        assert np.array_equal(second.input, array[1])
        assert (first.target, second.target, second.id) == ("7", "9", "images.idx.gz:2")

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"PNG!", "does not begin as an IDX file does"),
            (b"\0\0\x08\x01\0\0\0\x05abc", "has 11 bytes, and its header says 13"),
            (b"\x1f\x8bxx", "is damaged gzip"),
        ],
    )
    def test_damaged_idx(self, tmp_path: Path, data: bytes, message: str) -> None:
        (tmp_path / "a.idx").write_bytes(data)
        with pytest.raises(DataError, match=message):
            idx(tmp_path / "a.idx")

    def test_tables(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("1,2,3,4,x\n5,6,7,8,y\n")
        first, second = table_images(tmp_path / "a.csv", width=None)
        assert (first.input.tolist(), first.target, second.id) == ([[1, 2], [3, 4]], "x", "a.csv:2")
        (wide, _) = table_images(tmp_path / "a.csv", width=4)
        assert wide.input.tolist() == [[1, 2, 3, 4]]
        (tmp_path / "b.csv").write_text("1,2,3,4\n5,6,x,8\n9,9,9,9,y\n")
        bare, bad, labelled = table_images(tmp_path / "b.csv", width=None, labelled=False)
        assert bare.input.tolist() == [[1, 2], [3, 4]]
        assert bad.input == Flaw("column 3 has 'x', which is not a whole number")
        assert (labelled.input.shape, labelled.target) == ((2, 2), None)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1,2,3,4,5,x\n", r"a\.csv:1: has 6 columns, which are not a square image and a label; set `width`"),
            ("1,2,z,4,x\n", r"a\.csv:1: column 3 has 'z', which is not a whole number"),
            ("1,2,3,4,x\n1,x\n", r"a\.csv:2: has 1 pixels, and the first image has 4"),
        ],
    )
    def test_mistakes_in_tables_say_where_they_are(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            list(table_images(tmp_path / "a.csv", width=None))

    def test_folders_of_pictures(self, tmp_path: Path) -> None:
        from PIL import Image as Picture

        for label in ("cat", "dog"):
            (tmp_path / label).mkdir()
            Picture.fromarray(np.full((3, 4), len(label) * 10, np.uint8)).save(tmp_path / label / "1.png")
        (tmp_path / "notes.txt").write_text("x")
        with collect_reports() as reading:
            cat, dog = folder_images(tmp_path)
        assert (cat.target, dog.target, cat.id) == ("cat", "dog", "cat/1.png")
        assert cat.input.tolist() == [[30] * 4] * 3
        assert list(reading.left_out) == ["file that is no picture in the folder of a class"]
        (tmp_path / "cat/2.png").write_bytes(b"\x89PNG broken")
        with pytest.raises(DataError, match=r"2\.png: cannot be read as a picture"):
            list(folder_images(tmp_path))

    @pytest.mark.data
    @needs_data
    def test_published_counts(self) -> None:
        mnist, digits = images(), images(source="optdigits")
        assert {split: len(list(mnist.read(split))) for split in mnist.splits} == {
            "train": 7200,
            "dev": 800,
            "test": 2000,
        }
        assert {split: len(list(digits.read(split))) for split in digits.splits} == {
            "train": 3439,
            "dev": 384,
            "test": 1797,
        }
        assert next(iter(mnist.read("train"))).input.shape == (28, 28)


class TestTask:
    def test_pixels_are_not_shifted(self) -> None:
        with pytest.raises(UsageError, match="the order is pixels"):
            images(order="pixels", shift=1)

    def test_imports_and_calls_without_torch(self) -> None:
        code = "import sys, seqkit_images; seqkit_images.images(); sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_it_learns_bars_and_predicts_pictures(self, tmp_path: Path) -> None:
        from PIL import Image as Picture

        draw = np.random.default_rng(0)
        rows = []
        for number in range(200):
            image = draw.integers(0, 60, (6, 6))
            place = draw.integers(6)
            if number % 2:
                image[place] = 255
            else:
                image[:, place] = 255
            rows.append(",".join(map(str, [*image.reshape(-1), "across" if number % 2 else "down"])))
        (tmp_path / "bars.csv").write_text("\n".join(rows) + "\n")
        (tmp_path / "own.yaml").write_text(
            "tasks:\n  images: {folder: ., train: bars.csv, held_out_test: 0.2}\n"
            "encoder: {use: gru, dim: 16, hidden: 16}\n"
            "train: {epochs: 12, batch: 8, optimizer: {use: adamw, lr: 0.02}}\n"
        )
        done = CliRunner().invoke(main, ["run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out"), "--quiet"])
        assert done.exit_code == 0, done.output
        assert json.loads((tmp_path / "out/metrics.json").read_text())["images/test/accuracy"] > 0.9
        bar = np.zeros((6, 6), np.uint8)
        bar[2] = 255
        Picture.fromarray(bar).save(tmp_path / "bar.png")
        done = CliRunner().invoke(main, ["predict", str(tmp_path / "out"), str(tmp_path / "bar.png")])
        assert json.loads(done.stdout)["prediction"] == "across"
