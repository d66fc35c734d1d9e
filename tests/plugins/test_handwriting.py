"""The task `handwriting`: movements, the mixture, the window, drawings, files."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from seqkit_handwriting import handwriting, parts_of_nats, pen
from seqkit_handwriting.fields import Movements, steps_of_strokes
from seqkit_handwriting.head import Pen
from seqkit_handwriting.mixture import StepDistribution, width_of
from seqkit_handwriting.sources import parse_nothing, read_lines
from seqkit_handwriting.svg import svg
from seqkit_handwriting.window import Window, WindowState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqkit import Batch, DataError, Encoded, Example, Flaw, Prediction, UsageError
from seqkit.cli import main
from seqkit.testing import TaskConformance
from tests.helpers.data import needs_data

DRAWING = [[1.0, 2.0, 0.0], [-3.0, 0.5, 1.0], [2.0, 2.0, 0.0], [0.0, -1.0, 1.0]]


class TestMovements:
    def test_steps_are_in_units_of_the_deviation_and_the_last_one_ends_the_drawing(self) -> None:
        field = Movements().fit([DRAWING])
        moves = np.array(DRAWING)[:, :2]
        assert field.deviation == pytest.approx(moves.std())
        rows = field.encode(DRAWING)
        np.testing.assert_allclose(rows[:, :2], moves / moves.std(), rtol=1e-6)
        assert rows[:, 2].tolist() == [0, 1, 0, 2]
        np.testing.assert_allclose(field.decode(rows), DRAWING, rtol=1e-6, atol=1e-6)
        assert Movements().restore(field.state()) == field

    def test_noise_has_the_grids_width_and_is_the_same_for_the_same_drawing(self) -> None:
        field, draw = Movements(grid=(1.0, 0.25)), random.Random(1)
        value = [[float(draw.randrange(9)), float(draw.randrange(9)), 0.0] for _ in range(4000)]
        rows = field.encode(value)
        noise = rows[:, :2] - np.array(value)[:, :2]
        for axis, width in enumerate(field.grid):
            assert abs(noise[:, axis]).max() <= width / 2 + 1e-6
            assert noise[:, axis].std() == pytest.approx(width / math.sqrt(12), rel=0.05)
        np.testing.assert_array_equal(field.encode(value), rows)
        assert (field.encode(value[1:])[:, :2] != rows[1:, :2]).any()

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([], "should be a list of steps"),
            ([[1, 2]], "should be a list of steps"),
            ([[1, 2, 0], [1]], "should be a list of steps"),
            ("abc", "should be a list of steps"),
            ([[1, float("nan"), 0]], "is not finite"),
        ],
    )
    def test_anything_else_is_refused(self, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Movements().encode(value)
        with pytest.raises(ValueError, match="no movement at all"):
            Movements().fit([[[0, 0, 0]]])

    def test_strokes_become_movements(self) -> None:
        assert steps_of_strokes([[[0, 0], [1, 2]], [[5, 5], [5, 6]]]) == [[1, 2, 1], [4, 3, 0], [0, 1, 1]]
        for strokes, message in (([[[0, 0]]], "a single point"), ([[1, 2]], "not a list of points"), ({}, "a list of")):
            with pytest.raises(ValueError, match=message):
                steps_of_strokes(strokes)


def test_the_mixtures_likelihood_is_that_of_torchs_distributions() -> None:
    torch.manual_seed(0)
    raw = torch.randn(7, width_of(3))
    distribution = StepDistribution.of(raw)
    movement, state = torch.randn(7, 2), torch.randint(3, (7,))
    for row, (of_movement, of_pen) in enumerate(zip(*distribution.nats(movement, state), strict=True)):
        density = torch.zeros(())
        for number in range(3):
            x, y = distribution.log_deviation[row, number].exp()
            shared = distribution.correlation[row, number] * x * y
            covariance = torch.stack([torch.stack([x * x, shared]), torch.stack([shared, y * y])])
            gaussian = torch.distributions.MultivariateNormal(distribution.mean[row, number], covariance)
            density = density + distribution.weight[row, number].exp() * gaussian.log_prob(movement[row]).exp()
        torch.testing.assert_close(of_movement, -density.log(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(of_pen, -raw[row, -3:].softmax(0)[state[row]].log())


def test_draws_have_the_mean_and_the_covariance_of_their_gaussian() -> None:
    raw = torch.zeros(20_000, width_of(1))
    raw[:, 1:3], raw[:, 5], raw[:, 6] = torch.tensor([1.0, -2.0]), 0.7, 3.0
    distribution = StepDistribution.of(raw)
    movement, state = distribution.draw(1.0, torch.Generator().manual_seed(1))
    deviation = distribution.log_deviation[0, 0].exp()
    torch.testing.assert_close(movement.mean(0), torch.tensor([1.0, -2.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(movement.std(0), deviation, atol=0.03, rtol=0)
    correlation = float(torch.corrcoef(movement.t())[0, 1])
    assert correlation == pytest.approx(float(distribution.correlation[0, 0]), abs=0.03)
    assert int((state == 0).sum()) > 17_000
    likely, _ = distribution.likely()
    assert likely[0].tolist() == [1.0, -2.0]


def test_a_low_temperature_narrows_movements_and_leaves_the_pen_as_it_is() -> None:
    raw = torch.zeros(20_000, width_of(1))
    raw[:, 1:3] = torch.tensor([1.0, -2.0])
    raw[:, -3:] = torch.tensor([0.0, -1.0, -2.0])
    distribution = StepDistribution.of(raw)
    movement, state = distribution.draw(0.25, torch.Generator().manual_seed(1))
    torch.testing.assert_close(movement.std(0), 0.5 * distribution.log_deviation[0, 0].exp(), atol=0.02, rtol=0)
    shares = torch.bincount(state, minlength=3) / len(state)
    torch.testing.assert_close(shares, distribution.pen[0].exp(), atol=0.02, rtol=0)


def test_the_window_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    window, lengths = Window(5, 4, 6, 3), torch.tensor([4, 2])
    steps = torch.randn(2, 4, 5)
    steps[1, 2:] = 0
    encoded = Encoded(steps, lengths, steps[:, 0], tuple)
    x = torch.randn(2, 7, 4)
    features, _ = window(x, window.start(encoded), encoded, torch.tensor([7, 7]))
    for row, length in enumerate(lengths.tolist()):
        h, c, context = torch.zeros(1, 6), torch.zeros(1, 6), torch.zeros(1, 5)
        kappa = [0.0] * 3
        for t in range(7):
            h, c = window.cell(torch.cat([x[row, t][None], context], dim=-1), (h, c))
            numbers = window.move(h)[0].exp().tolist()
            context = torch.zeros(1, 5)
            for k in range(3):
                alpha, beta = numbers[k], numbers[3 + k]
                kappa[k] += numbers[6 + k]
                for u in range(1, length + 1):
                    context = context + alpha * math.exp(-beta * (kappa[k] - u) ** 2) * steps[row, u - 1]
            torch.testing.assert_close(features[row, t], torch.cat([h, context], dim=-1)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("far", [False, True])
def test_training_a_window_has_the_gradients_of_its_steps_one_by_one(far: bool) -> None:
    """Also where alpha, beta and moves are at their bound, and where the state before the first step is learned.

    A drawing that has ended keeps its state.
    """
    torch.manual_seed(1)
    window = Window(5, 4, 6, 3).double()
    if far:
        torch.nn.init.constant_(window.move.bias[[1, 5]], 12.0)
    lengths, drawn = torch.tensor([4, 2]), torch.tensor([4, 7])
    mask = torch.arange(4) < lengths[:, None]
    leaves = {
        "steps": torch.randn(2, 4, 5).double() * mask[..., None],
        "x": torch.randn(2, 7, 4).double(),
        "h": torch.randn(2, 6).double(),
        "c": torch.randn(2, 6).double(),
        "place": torch.rand(2, 3).double(),
        "context": torch.randn(2, 5).double(),
    }
    weighed = [torch.randn(2, 7, 11).double(), *(torch.randn_like(leaves[n]) for n in ("h", "c", "place", "context"))]
    results = []
    for together in (True, False):
        inputs = {name: tensor.clone().requires_grad_() for name, tensor in leaves.items()}
        encoded = Encoded(inputs["steps"], lengths, inputs["steps"][:, 0], tuple)
        state = WindowState(*(inputs[name] for name in ("h", "c", "place", "context")))
        if together:
            features, state = window(inputs["x"], state, encoded, drawn)
        else:
            rows = []
            for number, step in enumerate(inputs["x"].unbind(dim=1)):
                going = (drawn > number)[:, None]
                after, _ = window.step(step, state, encoded)
                rows.append(torch.cat([after.h, after.context], dim=-1) * going)
                pairs = zip(vars(after).values(), vars(state).values(), strict=True)
                state = WindowState(*(torch.where(going, new, old) for new, old in pairs))
            features = torch.stack(rows, dim=1)
        outputs = [features, state.h, state.c, state.place, state.context]
        total = sum((output * weight).sum() for output, weight in zip(outputs, weighed, strict=True))
        window.zero_grad()
        total.backward()  # type: ignore[union-attr]
        inputs["steps"].grad.mul_(mask[..., None])  # type: ignore[union-attr]
        gradients = {name: tensor.grad for name, tensor in [*inputs.items(), *window.named_parameters()]}
        results.append(
            (outputs, {name: gradient.clone() for name, gradient in gradients.items() if gradient is not None})
        )
    (outputs, gradients), (expected, expected_gradients) = results
    for one, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert gradients.keys() == expected_gradients.keys()
    assert len(gradients) == 12
    for name, gradient in gradients.items():
        assert float(gradient.abs().max()) > 0
        torch.testing.assert_close(gradient, expected_gradients[name], msg=lambda text, name=name: f"{name}: {text}")


def make_head(**options: Any) -> Pen:
    torch.manual_seed(0)
    head: Any = pen(5, Movements(deviation=2.0), torch.nn.Identity(), hidden=6, mixtures=2, **options)
    assert isinstance(head, Pen)
    return head.eval()


def make_encoded(batch: int = 2) -> Encoded:
    steps, lengths = torch.randn(batch, 3, 5), torch.tensor([3, 2][:batch])
    steps[1:, 2:] = 0
    return Encoded(steps, lengths, steps[torch.arange(batch), lengths - 1], tuple)


@pytest.mark.parametrize("options", [{}, {"layers": 2}, {"window": 3}])
def test_the_likelihood_of_a_drawing_is_that_of_its_steps_one_by_one(options: dict[str, Any]) -> None:
    head, encoded = make_head(**options), make_encoded()
    y = torch.zeros(2, 4, 3)
    y[0] = torch.from_numpy(head.target.encode(DRAWING))
    y[1, :2] = torch.from_numpy(head.target.encode(DRAWING[:2]))
    lengths = torch.tensor([4, 2])
    batch = Batch(torch.zeros(2, 3), encoded.lengths, y, lengths)
    with torch.no_grad():
        total, count = head.loss(encoded, batch)
        expected = 0.0
        for row, length in enumerate(lengths.tolist()):
            steps = encoded.steps[row : row + 1, : int(encoded.lengths[row])]
            alone = Encoded(steps, encoded.lengths[row : row + 1], steps[:, -1], tuple)
            state, before = head.start(alone), [0.0, 0.0, 0.0, 1.0]
            for t in range(length):
                distribution, state = head.run(torch.tensor([[before]]), torch.tensor([1]), alone, state)
                movement, lifted = distribution.nats(
                    y[row : row + 1, t : t + 1, :2], y[row : row + 1, t : t + 1, 2].long()
                )
                expected += float(movement.sum() + lifted.sum())
                before = [*y[row, t, :2].tolist(), float(y[row, t, 2] > 0), 0.0]
    assert int(count) == 6
    assert float(total) == pytest.approx(expected, rel=1e-5)
    known = head.predict(encoded, batch)
    parts = parts_of_nats(known, [None, None])
    assert parts["movement_nats"] + parts["pen_nats"] == pytest.approx(expected / 6, rel=1e-4)
    unknown = head.predict(encoded, Batch(torch.zeros(2, 3), encoded.lengths))
    assert [p.value for p in unknown] == [p.value for p in known]


def test_drawings_end_where_the_pen_says_so_or_at_their_limit() -> None:
    head, encoded = make_head(max_length=7), make_encoded()
    batch = Batch(torch.zeros(2, 3), encoded.lengths)
    with torch.no_grad():
        head.out.bias[-1] = -50.0
        assert [(len(p.value), p.scores) for p in head.predict(encoded, batch)] == [(7, {"cut": True})] * 2
        head.out.bias[-1] = 50.0
        assert [(len(p.value), p.scores) for p in head.predict(encoded, batch)] == [(1, None)] * 2


def test_a_drawing_ends_when_the_window_has_left_the_text() -> None:
    head, encoded = make_head(window=2, max_length=30), make_encoded()
    assert head.window is not None
    with torch.no_grad():
        head.out.bias[-1] = -50.0  # the pen never ends it
        head.window.move.weight.zero_()
        head.window.move.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.5, 0.5]).log().nan_to_num(neginf=0.0))
        drawings = head.predict(encoded, Batch(torch.zeros(2, 3), encoded.lengths))
    # Half a place a step: after step t it is at t / 2, which is nearer to 4 than to 3 from step 8 on, and of the text
    # of two letters nearer to 3 than to 2 from step 6 on.
    assert [len(drawing.value) for drawing in drawings] == [8, 6]
    assert [drawing.scores for drawing in drawings] == [None, None]


def test_pictures_are_drawn_from_a_seed() -> None:
    head, encoded = make_head(), make_encoded()
    options: Any = {"length": 9, "top_k": None, "top_p": None}
    first, again, other = (
        head.write(encoded, temperature=0.8, generator=torch.Generator().manual_seed(seed), **options)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(head.write(make_encoded(1), temperature=0.0, generator=torch.Generator(), **options))) == 1
    with pytest.raises(UsageError, match="draws movements; use temperature"):
        head.write(encoded, temperature=0.8, generator=torch.Generator(), **(options | {"top_k": 3}))


def test_pictures_of_a_board_are_always_the_same() -> None:
    head, encoded = make_head(window=2, max_length=8), make_encoded()
    first, again = head.drawings(encoded), head.drawings(encoded)
    assert first == again
    assert [line[0] for line in (first[0][0], first[1][0])] == [(0.0, 0.0)] * 2


def test_pictures_have_the_proportions_of_the_page() -> None:
    field = Movements(stretch=3.0, deviation=0.5)
    assert field.to_draw(field.encode([[1, 2, 0], [-3, 0.5, 1]])) == [[3, 2, 0], [-9, 0.5, 1]]
    assert field.decode(field.encode([[1, 2, 0], [-3, 0.5, 1]])) == [[1, 2, 0], [-3, 0.5, 1]]
    head, encoded = make_head(max_length=8), make_encoded()
    narrow = head.drawings(encoded)
    head.target = dataclasses.replace(head.target, stretch=3.0)
    wide = head.drawings(encoded)
    assert wide == [[[(pytest.approx(3.0 * x), y) for x, y in line] for line in drawing] for drawing in narrow]


def test_a_stroke_is_a_line_of_the_picture() -> None:
    picture = ElementTree.fromstring(svg(DRAWING, side=100))
    lines = [line.get("points") for line in picture.iter("{http://www.w3.org/2000/svg}polyline")]
    # From (0, 0) to (1, 2) and (-2, 2.5), then from (0, 4.5) to (0, 3.5); the longer side, 4.5, is 90 pixels.
    assert lines == ["45.0,5.0 65.0,45.0 5.0,55.0", "45.0,95.0 45.0,75.0"]
    assert (picture.get("width"), picture.get("height")) == ("70", "100")


class TestFiles:
    def write(self, path: Path, *values: Any) -> Path:
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
        return path

    def test_mistakes_are_located(self, tmp_path: Path) -> None:
        good = {"text": "a", "strokes": [[[0, 0], [1, 1]]]}
        for bad, message in (
            ({"strokes": good["strokes"]}, r"a\.jsonl:2: should have a text with the key text"),
            ({"text": "a"}, r"a\.jsonl:2: has no key strokes"),
            ({"text": "a", "strokes": [[[0, 0]]]}, r"a\.jsonl:2: has a single point"),
            ({"text": "a", "strokes": [[[0, 0], [1, float("nan")]]]}, r"a\.jsonl:2: has a movement that is not finite"),
            ([1], r"a\.jsonl:2: should be an object"),
        ):
            path = self.write(tmp_path / "a.jsonl", good, bad)
            with pytest.raises(DataError, match=message):
                list(read_lines(path, "text", labelled=True))
        path = self.write(tmp_path / "a.jsonl", {"text": "a"}, [1])
        read = list(read_lines(path, "text", labelled=False))
        assert read[0] == Example("a", None, "a.jsonl:1")
        assert read[1].input == Flaw("should be an object with the key strokes")

    def test_own_files_with_and_without_text(self, tmp_path: Path) -> None:
        self.write(tmp_path / "train.jsonl", {"text": "ab", "strokes": [[[0, 0], [1, 1], [2, 1]]]})
        with_text = handwriting(folder=tmp_path, dev=None)
        (example,) = with_text.read("train")
        assert (example.input, example.target) == ("ab", [[1, 1, 0], [1, 0, 1]])
        without = handwriting(folder=tmp_path, dev=None, text=None)
        assert [example.input for example in without.read("train")] == [["drawing"]]
        assert list(handwriting(folder=tmp_path, dev=None, max_length=1).read("train")) == []
        assert without.splits == ("train",)
        assert without.parse is not None
        assert without.parse("") == ["drawing"]
        with pytest.raises(ValueError, match="these drawings have none"):
            parse_nothing("hello")
        assert without.read_file is not None
        (other,) = without.read_file(tmp_path / "train.jsonl", None, True)
        assert (other.input, other.target) == (["drawing"], [[1, 1, 0], [1, 0, 1]])
        with pytest.raises(UsageError, match="--split"):
            list(without.read_file(tmp_path / "train.jsonl", "dev", True))

    @pytest.mark.data
    @needs_data
    def test_published_data_are_as_many_as_published(self) -> None:
        kanji, words = handwriting(), handwriting(source="cursive-words")
        counts = {split: [len(example.target) for example in kanji.read(split)] for split in kanji.splits}
        assert {split: (len(c), sum(c)) for split, c in counts.items()} == {
            "train": (10_000, 406_111),
            "dev": (600, 25_455),
            "test": (500, 20_793),
        }
        assert {split: len([*words.read(split)]) for split in words.splits} == {"train": 2800, "dev": 350, "test": 350}


def test_scores_without_true_drawings_are_zero() -> None:
    assert parts_of_nats([Prediction(DRAWING)], [DRAWING]) == {"movement_nats": 0.0, "pen_nats": 0.0}


def test_imports_and_calls_without_torch() -> None:
    code = "import sys, seqkit_handwriting; seqkit_handwriting.handwriting(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def write_drawings(folder: Path, count: int = 12) -> None:
    """Words of train and of dev, `count` of each."""
    draw = random.Random(2)
    for split in ("train", "dev"):
        drawings = [
            {
                "text": "".join(draw.choice("abc") for _ in range(draw.randint(1, 4))),
                "strokes": [
                    [[draw.random(), draw.random()] for _ in range(draw.randint(2, 4))]
                    for _ in range(draw.randint(1, 3))
                ],
            }
            for _ in range(count)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(value) + "\n" for value in drawings))


def test_a_run_shows_drawings_and_draws_by_one_command(tmp_path: Path) -> None:
    write_drawings(tmp_path)
    head = {"use": "pen", "hidden": 6, "mixtures": 2, "window": 2, "max_length": 12}
    recipe = {
        "tasks": {"hand": {"use": "handwriting", "folder": str(tmp_path), "head": head}},
        "encoder": {"use": "none", "dim": 6},
        "train": {"steps": 2, "batch": 4},
    }
    (tmp_path / "hand.yaml").write_text(json.dumps(recipe))
    run = tmp_path / "run"
    done = CliRunner().invoke(main, ["run", str(tmp_path / "hand.yaml"), "--out", str(run), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "hand/dev/movement_nats" in done.output
    words = ["generate", str(run), "--prompt", "ab", "--length", "9"]
    pictures = {CliRunner().invoke(main, [*words, "--seed", seed]).stdout for seed in ("1", "1", "2")}
    assert len(pictures) == 2
    assert {ElementTree.fromstring(picture).tag for picture in pictures} == {"{http://www.w3.org/2000/svg}svg"}
    done = CliRunner().invoke(main, ["generate", str(run), "--prompt", "a?"])
    assert done.exit_code == 2
    assert "symbols that the model does not know" in done.output
    events = EventAccumulator(str(run / "tb"), size_guidance={"images": 0})
    events.Reload()
    assert "pictures/hand/dev/drawn" in events.Tags()["images"]


class TestConformance(TaskConformance):
    task = "handwriting"
    head: ClassVar[dict[str, Any]] = {"use": "pen", "hidden": 6, "mixtures": 2, "window": 2, "max_length": 12}
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("drawings")
        write_drawings(folder)
        cls.options = {"folder": folder}


class TestConformanceWithoutWindow(TestConformance):
    encoders = ({"use": "gru", "hidden": 6},)
    head: ClassVar[dict[str, Any]] = {"use": "pen", "hidden": 6, "mixtures": 2, "dropout": 0.2, "max_length": 12}
