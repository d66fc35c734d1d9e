"""The task `next-item`: fields, the head that ranks, scores, baselines and sources."""

from __future__ import annotations

import gzip
import json
import math
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from seqkit_sessions import next_item, rank
from seqkit_sessions.catalogue import UNKNOWN
from seqkit_sessions.fields import Items, NextItems
from seqkit_sessions.head import Rank
from seqkit_sessions.scores import baselines, metric, rank_of, ranking_scores
from seqkit_sessions.sources import SessionReader

from seqkit import Batch, DataError, Encoded, Prediction, UsageError
from seqkit import recipe as recipes
from seqkit.cli import main
from seqkit.model import bounded_build, load_model
from seqkit.readers import TableFormat
from seqkit.reading import collect_reports
from tests.helpers.data import needs_data
from tests.helpers.models import write_model

SESSIONS = [["a", "b", "c"], ["a", "b"], ["a", "d"]]


class TestFields:
    def test_numbers_are_by_frequency_and_the_same_on_both_sides(self) -> None:
        items, following = Items(lambda: SESSIONS).fit([]), NextItems(lambda: SESSIONS).fit([])
        assert items.encode("a b x d").tolist() == [1, 2, 0, 4]
        assert following.encode(["b", "x"]).tolist() == [2, 0]
        assert items.decode(np.array([1, 0, 3])) == "a <unknown> c"
        assert (items.size, items.count_unknown(items.encode("x a x"))) == (5, 2)
        assert Items(items.sessions).restore(json.loads(json.dumps(items.state()))) == items

    @pytest.mark.parametrize("value", ["", " ", [], None, [1], ["a", ""]])
    def test_what_are_no_items_is_refused(self, value: Any) -> None:
        with pytest.raises(ValueError, match=r"items|is empty"):
            Items().fit(SESSIONS).encode(value)


class TestScores:
    def test_by_hand(self) -> None:
        scores = ranking_scores([1, 2, None, 20, 21])
        assert scores["recall@20"] == pytest.approx(3 / 5)
        assert scores["mrr@20"] == pytest.approx((1 + 1 / 2 + 1 / 20) / 5)
        assert scores["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3)) / 5)

    def test_all_next_items_or_the_last_one(self) -> None:
        predictions = [Prediction(["b", "b"], scores={"top": [["b", "c"], ["b", "a"]]})]
        assert metric("all")(predictions, [["c", "b"]])["mrr@20"] == pytest.approx(3 / 4)
        assert metric("last")(predictions, [["c", "b"]])["mrr@20"] == 1
        assert metric("last")(predictions, [["b", "<unknown>"]])["recall@20"] == 0

    @pytest.mark.parametrize("leave_out_seen", [False, True])
    @pytest.mark.parametrize("scored", ["all", "last"])
    def test_baselines_are_those_of_plain_code(self, leave_out_seen: bool, scored: Any) -> None:
        draw = random.Random(3)
        sessions = [[str(int(30 * draw.random() ** 2)) for _ in range(draw.randint(2, 9))] for _ in range(300)]
        train, test = sessions[:200], sessions[200:]
        scores = baselines(train, test, scored=scored, leave_out_seen=leave_out_seen, top=5)
        assert scores == slow_baselines(train, test, scored, leave_out_seen, 5)
        assert scores["Markov chain"] != scores["popularity"]


def slow_baselines(train: Any, test: Any, scored: str, leave_out_seen: bool, top: int) -> dict[str, Any]:
    """Sorts all items for every step."""
    flat = [item for session in train for item in session]
    pairs = [pair for session in train for pair in pairwise(session)]
    common = sorted(dict.fromkeys(flat), key=lambda item: -flat.count(item))
    ranks: dict[str, list[int | None]] = {"popularity": [], "Markov chain": []}
    for session in test:
        for place in range(1, len(session)):
            if scored == "last" and place < len(session) - 1:
                continue
            after = [second for first, second in pairs if first == session[place - 1]]
            best = sorted(dict.fromkeys(after), key=lambda item, after=after: -after.count(item))  # type: ignore[misc]
            best += [item for item in common if item not in best]
            for name, ranked in (("popularity", common), ("Markov chain", best)):
                kept = [item for item in ranked if not (leave_out_seen and item in session[:place])][:top]
                ranks[name].append(rank_of(session[place], kept))
    return {name: ranking_scores(row) for name, row in ranks.items()}


def head_for(steps: torch.Tensor, **options: Any) -> tuple[Rank, Encoded, Batch]:
    torch.manual_seed(0)
    items, following = Items().fit(SESSIONS), NextItems().fit(SESSIONS)
    head: Any = rank(steps.shape[2], following, items.layer(6), **options)
    lengths = torch.tensor([3, 2])
    x = torch.tensor([items.encode("a b d").tolist(), [*items.encode("c x").tolist(), 0]])
    y = torch.tensor([[2, 0, 3], [1, 4, 0]])
    encoded = Encoded(steps, lengths, steps[:, 0], tuple)
    return head, encoded, Batch(x=x, lengths=lengths, y=y, y_lengths=lengths, ids=("1", "2"))


class TestHead:
    steps = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def test_the_loss_is_that_of_plain_loops_over_steps_whose_next_item_is_known(self) -> None:
        head, encoded, batch = head_for(self.steps)
        total, count = head.eval().loss(encoded, batch)
        assert head.bias is not None
        expected = 0.0
        for row, step, item in ((0, 0, 2), (0, 2, 3), (1, 0, 1), (1, 1, 4)):
            h = head.narrow(self.steps[row, step])
            scores = [float(h @ head._weight()[k] + head.bias[k]) for k in range(1, 5)]
            expected += math.log(sum(map(math.exp, scores))) - scores[item - 1]
        assert (total.item(), int(count)) == (pytest.approx(expected, rel=1e-5), 4)

    @torch.no_grad()
    def test_the_sampled_loss_is_that_of_plain_loops(self) -> None:
        head, _, _ = head_for(self.steps, negatives=5)
        steps, y, sampled = torch.randn(3, 6), torch.tensor([1, 3, 4]), torch.tensor([1, 1, 2, 4, 3])
        nats = head.sampled_nats(steps, y, sampled)
        assert head.bias is not None
        for row in range(3):
            numbers = [int(y[row]), *(int(k) for k in sampled if k != y[row])]
            scores = [float(steps[row] @ head._weight()[k] + head.bias[k]) for k in numbers]
            scores[1:] = [s - math.log(5 * float(head.draw[k])) for s, k in zip(scores[1:], numbers[1:], strict=True)]
            assert nats[row].item() == pytest.approx(math.log(sum(map(math.exp, scores))) - scores[0], rel=1e-4)

    @torch.no_grad()
    def test_many_samples_give_nearly_the_full_loss(self) -> None:
        head, encoded, batch = head_for(self.steps, negatives=200_000)
        full, _ = head.eval().loss(encoded, batch)
        sampled, _ = head.train().loss(encoded, batch)
        assert sampled.item() == pytest.approx(full.item(), rel=0.02)

    @torch.no_grad()
    @pytest.mark.parametrize("negatives", [0, 200_000])
    def test_with_a_scale_scores_are_cosines(self, negatives: int) -> None:
        head, encoded, batch = head_for(self.steps, scale=3.0, negatives=negatives)
        (layer,) = head._layer
        layer.weight[1] *= 7  # the length of an item's vector does not matter
        total = 0.0
        for row, step in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
            true = int(batch.y_on_cpu[row, step])
            if true == UNKNOWN:
                continue
            query = head.narrow(self.steps[row, step])
            scores = [3.0 * float(torch.cosine_similarity(query, vector, dim=0)) for vector in layer.weight[1:]]
            total -= scores[true - 1] - math.log(sum(map(math.exp, scores)))
        nats, _ = head.train().loss(encoded, batch)
        assert nats.item() == pytest.approx(total, rel=0.02 if negatives else 1e-5)

    @torch.no_grad()
    def test_items_are_ranked_by_probability_and_unknown_ones_never(self) -> None:
        head, encoded, batch = head_for(self.steps)
        first, second = head.eval().predict(encoded, batch)
        assert [len(first.value), len(second.value)] == [3, 2]
        for row, prediction in enumerate((first, second)):
            for step, ranked in enumerate(prediction.scores["top"]):
                scores = head.scores(head.narrow(self.steps[row, step]))[1:].tolist()
                assert ranked == [head.catalogue.items[k] for k in sorted(range(4), key=lambda k: -scores[k])]
                assert prediction.value[step] == ranked[0]

    def test_seen_items_come_last_where_they_are_left_out(self) -> None:
        head, encoded, batch = head_for(self.steps, leave_out_seen=True)
        first, second = head.eval().predict(encoded, batch)
        assert [set(ranked[4 - n :]) for n, ranked in zip((1, 2, 3), first.scores["top"], strict=True)] == [
            {"a"},
            {"a", "b"},
            {"a", "b", "d"},
        ]
        assert second.scores["top"][0][-1] == "c"

    @torch.no_grad()
    @pytest.mark.parametrize("leave_out_seen", [False, True])
    def test_a_batch_scored_in_parts_is_ranked_as_by_plain_loops(
        self, leave_out_seen: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("seqkit_sessions.head._STEPS", 2)  # a part may begin within a sequence
        head, encoded, batch = head_for(self.steps, leave_out_seen=leave_out_seen)
        predictions = head.eval().predict(encoded, batch)
        for row, prediction in enumerate(predictions):
            for step, ranked in enumerate(prediction.scores["top"]):
                shares = head.scores(head.narrow(self.steps[row, step])).softmax(-1)
                seen = batch.x[row, : step + 1].tolist() if leave_out_seen else []
                order = sorted(range(1, 5), key=lambda k: (k in seen, -shares[k]))
                expected = [head.catalogue.items[k - 1] for k in order]
                rankable = 4 - len({*seen} - {0})
                assert (ranked[:rankable], len(ranked)) == (expected[:rankable], 4)
                assert prediction.confidence[step] == pytest.approx(float(shares[order[0]]))
        total, _ = head.loss(encoded, batch)
        monkeypatch.undo()
        assert total.item() == pytest.approx(head.loss(encoded, batch)[0].item())

    def test_steps_that_come_one_by_one_are_ranked_as_together(self) -> None:
        head, encoded, batch = head_for(self.steps, leave_out_seen=True)
        (uncut, _) = head.eval().predict(encoded, batch)
        kept: Any = [()]
        parts = []
        for step in range(3):
            now = Encoded(self.steps[:1, step : step + 1], torch.tensor([1]), self.steps[:1, step], tuple)
            one = Batch(x=batch.x[:1, step : step + 1], lengths=torch.tensor([1]), ids=("1",))
            (prediction,), kept = head.advance(now, one, kept)
            parts.append(prediction)
        joined = head.stitch(parts)
        assert joined.scores == uncut.scores
        assert joined.confidence == pytest.approx(uncut.confidence)


class TestSources:
    def test_tables_of_events(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("who,item,time\n1,a,0\n1,b,1\n2,c,2\n")
        assert list(SessionReader(session="who").read(path)) == [("a.csv:2", ["a", "b"]), ("a.csv:4", ["c"])]
        path.write_text("who,item\n1,a\n2,c\n1,b\n")
        with pytest.raises(DataError, match=r"a\.csv:4: the session '1' goes on after another one"):
            list(SessionReader(session="who").read(path))
        path.write_text("who,item\n1,a b\n")
        with pytest.raises(DataError, match=r"a\.csv:2: the item 'a b' should be one word"):
            list(SessionReader(session="who").read(path))
        with pytest.raises(DataError, match=r"a\.csv:1: no column 'user'; the columns are: who, item"):
            list(SessionReader(session="user").read(path))

    def test_sessions_to_predict_for_are_called_by_their_names(self, tmp_path: Path) -> None:
        path = tmp_path / "new.csv"
        path.write_text("who,item\nn1,a\nn1,b\n,c\n,d\n")
        read_file = next_item(folder=tmp_path, session="who").read_file
        assert read_file is not None
        examples = [(example.id, example.input, example.target) for example in read_file(path, None, False)]
        assert examples == [("n1", "a b", None), ("new.csv:4", "c d", None)]
        assert [example.id for example in read_file(path, None, True)] == ["new.csv:2", "new.csv:4"]

    def test_columns_are_reported_and_a_table_needs_the_one_of_sessions(self, tmp_path: Path) -> None:
        (tmp_path / "events.csv").write_text("who,item,text\n1,a,x\n1,b,y\n")
        with collect_reports() as reading:
            list(SessionReader(session="who").read(tmp_path / "events.csv"))
        assert reading.tables["events.csv"].used == {"session": "who", "item": "item"}
        assert reading.tables["events.csv"].unused == ("text",)
        message = r"events\.csv: is a table; name the column that .* with `session`: who, item, text"
        with pytest.raises(DataError, match=message):
            list(SessionReader().read(tmp_path / "events.csv"))

    def test_times_must_not_fall_within_a_session(self, tmp_path: Path) -> None:
        path = tmp_path / "events.csv"
        path.write_text("who,item,at\n1,a,9\n1,b,9\n1,c,10\n2,a,3\n2,b,4\n")
        reader = SessionReader(session="who", time="at")
        with collect_reports() as reading:
            assert [items for _, items in reader.read(path)] == [["a", "b", "c"], ["a", "b"]]
        assert reading.tables["events.csv"].used == {"session": "who", "item": "item", "time": "at"}
        assert reading.remarks == []
        path.write_text("who,item,at\n1,a,10\n1,b,9\n")
        with pytest.raises(DataError, match=r"events\.csv:3: time '9' is not after '10'; sort the rows by time"):
            list(reader.read(path))
        path.write_text("who,item,at\n1,a,2024-01-01\n1,b,\n")
        with pytest.raises(DataError, match=r"events\.csv:3: column 'at' is empty"):
            list(reader.read(path))
        with pytest.raises(DataError, match="no column 'when'"):
            list(SessionReader(session="who", time="when").read(path))

    def test_lines_in_another_encoding(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes("thé café\n".encode("latin-1"))
        reader = SessionReader(layout=TableFormat(encoding="latin-1"))
        assert list(reader.read(tmp_path / "a.txt")) == [("a.txt:1", ["thé", "café"])]

    def test_sessions_of_one_item_are_no_training(self, tmp_path: Path) -> None:
        (tmp_path / "train.txt").write_text("a\nb\n")
        (tmp_path / "r.yaml").write_text("tasks: {next-item: {folder: .}}\nencoder: {use: gru, hidden: 8}\n")
        done = CliRunner().invoke(main, ["data", str(tmp_path / "r.yaml")])
        assert done.exit_code == 2
        assert "train: input has no items: no session of train has two of them" in done.output

    def test_without_a_test_split_the_baselines_are_scored_on_dev(self, tmp_path: Path) -> None:
        (tmp_path / "train.txt").write_text("a b c\n" * 40)
        task = next_item(folder=tmp_path)
        assert task.notes is not None
        popularity, markov = task.notes()
        assert popularity.startswith("beside the score on dev, popularity: recall@20 1.0000")
        assert markov.startswith("beside the score on dev, Markov chain: recall@20 1.0000")

    def test_the_last_sessions_are_dev(self, tmp_path: Path) -> None:
        (tmp_path / "train.txt").write_text("".join(f"a b{n}\n" for n in range(10)) + "\nlonely\n")
        task = next_item(folder=tmp_path, held_out=0.2)
        with collect_reports() as reading:
            read = {split: [example.target[-1] for example in task.read(split)] for split in task.splits}
        assert read == {"train": [f"b{n}" for n in range(9)], "dev": ["b9"]}
        assert reading.left_out["session of one item, after which nothing comes"].first == "train.txt:12"

    def test_one_is_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "all.txt.gz").write_bytes(gzip.compress(b"u1 a b c d\nu2 a b\n"))
        task = next_item(folder=tmp_path, train="all.txt.gz", leave_one_out=True, user=True)
        read = {split: [(e.input, e.target) for e in task.read(split)] for split in task.splits}
        assert read == {"train": [("a", ["b"])], "dev": [("a b", ["b", "c"])], "test": [("a b c", ["b", "c", "d"])]}
        with pytest.raises(UsageError, match="they have no files"):
            next_item(folder=tmp_path, leave_one_out=True, test="b.txt")

    @pytest.mark.data
    @needs_data
    @pytest.mark.slow
    def test_published_counts_and_baselines(self) -> None:
        task = next_item()
        assert sum(len(example.target) for example in task.read("test")) == 55_898
        assert sum(len(example.target) for split in ("train", "dev") for example in task.read(split)) == 369_859
        assert task.notes is not None
        popularity, markov = (float(line.partition("recall@20 ")[2].partition(",")[0]) for line in task.notes())
        assert 0.04 < popularity < 0.10  # 0.073 with dev counted too
        assert 0.60 < markov < 0.66  # 0.649 with dev counted too


def test_imports_and_calls_without_torch() -> None:
    code = "import sys, seqkit_sessions; seqkit_sessions.next_item(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_learns_a_cycle_and_predicts_what_comes_next(tmp_path: Path) -> None:
    draw = random.Random(1)
    lines = []
    for _ in range(200):
        start, count = draw.randrange(8), draw.randint(2, 6)
        lines.append(" ".join(f"item{(start + n) % 8}" for n in range(count)))
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "own.yaml").write_text(
        "tasks:\n  next-item: {folder: ., test: test.txt, held_out: 0.1,"
        " head: {use: rank, negatives: 4, dropout: 0.1}}\n"
        "encoder: {use: gru, dim: 8, hidden: 8}\ntrain: {epochs: 12, batch: 8, optimizer: {use: adamw, lr: 0.03}}\n"
    )
    done = CliRunner().invoke(main, ["run", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "beside the score on test, Markov chain: recall@20 1.0000" in done.output + done.stderr
    assert json.loads((tmp_path / "out/metrics.json").read_text())["next-item/test/mrr@20"] > 0.9
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "out"), "--text", "item3 item4"])
    assert CliRunner().invoke(main, ["report", str(tmp_path / "out")]).exit_code == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "recall@20 by length" in page
    assert "is not shown" not in page
    rankings = json.loads(done.stdout)["scores"]["top"]
    assert rankings[1][0] == "item5"
    done = CliRunner().invoke(main, ["predict", str(tmp_path / "out"), "--text", "item3 item4", "--top", "3"])
    assert json.loads(done.stdout)["scores"]["top"] == [ranking[:3] for ranking in rankings]


def test_a_model_that_has_to_be_built_twice_is_opened_within_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head has a table that is in no file. Models of more numbers than may be spared could not be opened."""
    monkeypatch.setattr(bounded_build, "_SPARE_NUMBERS", 40)
    for split in ("train", "dev"):
        (tmp_path / f"{split}.txt").write_text("".join(f"a{n % 4} b{n % 5} c\n" for n in range(20)))
    task = {"use": "next-item", "folder": str(tmp_path), "dev": "dev.txt"}
    sections = {"tasks": {"shop": task}, "encoder": {"use": "gru", "dim": 16, "hidden": 8}}
    recipe = recipes.parse(json.dumps(sections).encode(), "shop.yaml")
    model, _, _ = load_model(write_model(tmp_path / "model", recipe))
    assert sum(parameter.numel() for parameter in model.parameters()) > 2 * 40
