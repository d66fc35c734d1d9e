"""Batches: padding on the right, next-step targets, lanes of a stream, the plan of an epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from seqkit.data import evaluation, padding, prefetch, store, task_data
from seqkit.data import stream as stream_module
from seqkit.data.epoch import EpochPlan, Turns
from seqkit.data.stream import Stream
from seqkit.fields import Label, Next, Tags, Tokens
from seqkit.settings import TrainSettings
from seqkit.types import END, START, Example, Limit, Task


def make(task: Task, tmp_path, name: str = "task") -> task_data.TaskData:
    prepared = store.prepare(task, key={"test": name}, cache=tmp_path)
    return task_data.TaskData(name, task, prepared.input, prepared.target, prepared.splits)


def reader(rows):
    def read(split: str) -> Iterator[Example]:
        for number, (value, target) in enumerate(rows, start=1):
            yield Example(value, target, f"{split}.tsv:{number}")

    return read


TEXTS = ["abc", "abcdefg", "a", "bb", "ccccc", "dcba"]


@pytest.fixture
def language(tmp_path):
    def build(window=None, texts=TEXTS):
        rows = [(text, None) for text in texts]
        task = Task(
            read=reader(rows), input=Tokens("characters"), target=Next(), head="language", best="nats", window=window
        )
        return make(task, tmp_path, f"language-{window}-{len(texts)}")

    return build


def test_padding_is_on_the_right_and_lengths_are_true(tmp_path) -> None:
    rows = [(text, [c.upper() for c in text]) for text in TEXTS]
    task = Task(read=reader(rows), input=Tokens("characters"), target=Tags(), head="tag", best="accuracy")
    data = make(task, tmp_path)
    batch = data.batch("train", np.array([2, 1, 0]))
    assert batch.lengths.tolist() == [1, 7, 3]
    assert batch.x.shape == (3, 7)
    assert list(batch.ids) == ["train.tsv:3", "train.tsv:2", "train.tsv:1"]
    assert batch.mask.tolist() == (batch.x != 0).tolist()
    assert batch.y is not None
    assert batch.y.shape == (3, 7)
    assert data.target.decode(batch.y[2, :3].numpy()) == ["A", "B", "C"]
    assert data.targets("train") == [target for _, target in rows]


def test_a_fixed_target_has_one_row_an_example(tmp_path) -> None:
    rows = [(text, "long" if len(text) > 3 else "short") for text in TEXTS]
    task = Task(read=reader(rows), input=Tokens("characters"), target=Label(), head="classify", best="accuracy")
    data = make(task, tmp_path)
    batch = data.batch("train", np.array([0, 1]))
    assert batch.y is not None
    assert batch.y.shape == (2,)
    assert batch.y_lengths is None
    assert [data.target.decode(y.numpy()) for y in batch.y] == ["short", "long"]


def test_a_complete_sequence_is_predicted_from_its_start_to_its_end(language) -> None:
    data = language()
    batch = data.batch("train", np.array([0, 1]))
    ids = data.input.encode("abc").tolist()
    assert batch.x[0].tolist() == [START, *ids, 0, 0, 0, 0]
    assert batch.y is not None
    assert batch.y[0].tolist() == [*ids, END, -1, -1, -1, -1]
    assert batch.lengths.tolist() == [4, 8]
    assert data.lengths("train")[:2].tolist() == [4, 8]


def test_every_symbol_of_a_piece_is_scored_once(language) -> None:
    data = language(window=3)
    batch = data.batch("dev", np.array([1]))
    ids = data.input.encode("abcdefg").tolist()
    assert batch.x[0].tolist() == [START, *ids[:-1]]
    assert batch.y is not None
    assert batch.y[0].tolist() == ids


def test_a_stream_joins_documents_after_start_symbols_and_begins_again(language) -> None:
    data = language(window=3)
    stream = Stream(data.splits["train"].x)
    plain: list[int] = []
    for text in TEXTS:
        plain += [START, *data.input.encode(text).tolist()]
    assert stream.total == len(plain)
    assert stream.read(0, stream.total).tolist() == plain
    assert stream.read(5, stream.total + 9).tolist() == plain[5:] + plain[:9]


@pytest.mark.parametrize("window", [1, 3, 100])
def test_lanes_see_each_step_of_the_stream_once_with_the_next_as_target(language, window) -> None:
    data = language(window=window)
    settings = TrainSettings(batch=4)
    epoch = EpochPlan(data={"lm": data}, settings=settings, seed=3, epoch=2)
    stream = Stream(data.splits["train"].x)
    rows: list[list[int]] = [[] for _ in range(4)]
    follows: list[list[int]] = [[] for _ in range(4)]
    for number, turn in enumerate(epoch.turns):
        (batch,) = epoch.batches(turn)
        assert batch.carry == (number > 0)
        assert (batch.lengths == batch.x.shape[1]).all()
        for lane in range(4):
            rows[lane] += batch.x[lane].tolist()
            follows[lane] += batch.y[lane].tolist()
    length = stream.total // 4
    for lane in range(4):
        assert len(rows[lane]) == length
        assert rows[lane][1:] == follows[lane][:-1]
    joined = [symbol for row in rows for symbol in row]
    ring = stream.read(0, stream.total).tolist() * 2
    assert any(ring[k : k + len(joined)] == joined for k in range(stream.total))


def test_the_plan_of_an_epoch_depends_on_seed_and_epoch_alone(language) -> None:
    data = {"a": language(), "b": language(window=2)}

    def plan(seed: int, epoch: int):
        made = EpochPlan(data, TrainSettings(batch=2), seed=seed, epoch=epoch)
        return [(turn.task, [batch.x.tolist() for batch in made.batches(turn)]) for turn in made.turns]

    assert plan(1, 0) == plan(1, 0)
    assert plan(1, 0) != plan(1, 1)
    assert plan(1, 0) != plan(2, 0)
    assert {task for task, _ in plan(1, 0)} == {"a", "b"}


@pytest.mark.parametrize("kind", ["tags", "next"])
def test_few_shapes_hold_the_same_examples(language, tmp_path, kind) -> None:
    texts = ["abcdefghi"[: 1 + k % 9] + "x" * (k % 4) for k in range(60)]
    if kind == "next":
        data = language(texts=texts)
    else:
        rows = [(text, list(text.upper())) for text in texts]
        task = Task(read=reader(rows), input=Tokens("characters"), target=Tags(), head="tag", best="accuracy")
        data = make(task, tmp_path)

    def batches(settings: TrainSettings, epoch: int) -> list:
        made = EpochPlan({"a": data}, settings, seed=1, epoch=epoch)
        return [batch for turn in made.turns for batch in made.batches(turn)]

    plain, few = TrainSettings(batch=4, pool=3), TrainSettings(batch=4, pool=3, shapes=3)
    shapes = {batch.x.shape[1] for epoch in range(3) for batch in batches(few, epoch)}
    assert len(shapes) == 3 < len({batch.x.shape[1] for batch in batches(plain, 0)})
    for bare, padded in zip(batches(plain, 1), batches(few, 1), strict=True):
        longest = bare.x.shape[1]
        assert list(bare.ids) == list(padded.ids)
        assert padded.lengths.tolist() == bare.lengths.tolist()
        assert padded.y.shape == padded.x.shape
        assert padded.x[:, :longest].tolist() == bare.x.tolist()
        assert padded.y[:, :longest].tolist() == bare.y.tolist()
        assert not padded.x[:, longest:].any()


def test_any_position_of_an_epoch_is_reached_at_once(language) -> None:
    epoch = EpochPlan({"a": language()}, TrainSettings(batch=2), seed=1, epoch=0)
    whole = [batch.x.tolist() for _, batches in epoch.batches_from(0, torch.device("cpu")) for batch in batches]
    rest = [batch.x.tolist() for _, batches in epoch.batches_from(2, torch.device("cpu")) for batch in batches]
    assert rest == whole[2:]


def test_accumulation_takes_the_batches_of_one_step_from_one_task(language) -> None:
    data = {"a": language(), "b": language(window=2)}
    epoch = EpochPlan(data, TrainSettings(batch=2, accumulate=2), seed=1, epoch=0)
    singles = EpochPlan(data, TrainSettings(batch=2), seed=1, epoch=0)
    assert sum(len(turn.batches) for turn in epoch.turns) == len(singles.turns)
    assert max(len(turn.batches) for turn in epoch.turns) == 2


def test_evaluation_windows_of_a_long_sequence_cover_it_in_order(language, monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "EVALUATION_WINDOW", 3)
    data = language(window=3)
    seen: dict[int, list[int]] = {}
    for index, windows in evaluation.evaluation_batches(data, "test", batch=4):
        for window in windows:
            for row in range(window.size):
                seen.setdefault(int(index[row]), []).extend(window.y[row, : window.lengths[row]].tolist())
    assert [seen[i] for i in range(len(TEXTS))] == [data.input.encode(text).tolist() for text in TEXTS]


def test_batches_made_ahead_are_the_same_and_errors_come_through() -> None:
    assert list(prefetch.prefetch(iter(range(100)))) == list(range(100))

    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = prefetch.prefetch(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


def test_a_window_is_refused_for_targets_that_do_not_follow_from_the_input(tmp_path) -> None:
    task = Task(
        read=reader([("ab", "x")]),
        input=Tokens("characters"),
        target=Label(),
        head="classify",
        best="accuracy",
        window=3,
    )
    with pytest.raises(TypeError, match="next-step"):
        make(task, tmp_path)


def test_windows_keep_all_steps(tmp_path) -> None:
    rows = [(text, "long" if len(text) > 3 else "short") for text in TEXTS]
    task = Task(
        read=reader(rows), input=Tokens("characters"), target=Label(), head="classify", best="accuracy",
        limit=Limit(3, "window"),
    )  # fmt: skip
    data = make(task, tmp_path)
    part = data.splits["test"]
    assert sum(part.x.lengths) >= sum(map(len, TEXTS))
    assert sorted(set(part.origin.tolist())) == list(range(len(TEXTS)))


# --- the fast ways beside slow ones ---------------------------------------------------------------------------------


def a_column(dtype: str, shape: tuple[int, ...], *, ragged: bool = True, examples: int = 12) -> store.Column:
    dice = np.random.default_rng(1)
    lengths = dice.integers(1, 9, examples)
    total = int(lengths.sum()) if ragged else examples
    data = (dice.standard_normal((total, *shape)) * 50).astype(dtype)
    return store.Column(data, np.concatenate([[0], np.cumsum(lengths)]) if ragged else None)


def bits(array: np.ndarray) -> bytes:
    """So that 0.0 and -0.0 are two."""
    return f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("steps", [0, 3, 20])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "i8", "f4", "f8", "?"])
def test_rows_are_gathered_as_a_loop_would(dtype, shape, steps) -> None:
    final = np.float32 if dtype.startswith("f") else np.int64
    for index in (np.array([3]), np.array([11, 0, 5, 5]), np.arange(12), np.array([11])):
        column = a_column(dtype, shape)
        rows = [column[i] for i in index]
        width = max(steps, *map(len, rows), 0)
        expected = np.zeros((len(rows), width, *shape), final)
        for row, values in zip(expected, rows, strict=True):
            row[: len(values)] = values
        found, lengths = padding.gather(column, index, steps)
        assert bits(found) == bits(expected)
        assert lengths.tolist() == [len(values) for values in rows]
        # Targets, one a step, are as wide as their inputs; others are not.
        assert bits(padding.gather(column, index, like=(lengths, width))[0]) == bits(expected)
        apart = padding.gather(column, index, like=(lengths + 1, 30))[0]
        assert apart.shape[1] == lengths.max()
        single = a_column(dtype, shape, ragged=False)
        found, lengths = padding.gather(single, index)
        assert bits(found) == bits(np.stack([single[i] for i in index])[:, None].astype(final))
        assert lengths.tolist() == [1] * len(index)


def test_what_is_gathered_is_the_batchs_own() -> None:
    column = a_column("i8", ())
    fixed = a_column("i8", (), ragged=False)
    for found in (padding.gather(column, np.arange(3))[0], padding.gather(fixed, np.arange(3))[0]):
        found[:] = -7
    assert -7 not in column.data
    assert -7 not in fixed.data


@pytest.mark.parametrize("complete", [True, False])
def test_next_steps_are_those_of_a_loop(complete) -> None:
    x = np.array([[7, 8, 9], [5, 0, 0], [6, 6, 0]])
    lengths = np.array([3, 1, 2])
    batch = padding.next_step(x, lengths, ["a"] * 3, complete=complete)
    for row, length in enumerate(lengths):
        symbols = x[row, :length].tolist()
        inputs = [START, *symbols] if complete else [START, *symbols][:-1]
        targets = [*symbols, END] if complete else symbols
        assert batch.y is not None
        width = 3 + complete
        assert batch.x[row].tolist() == inputs + [0] * (width - len(inputs))
        assert batch.y[row].tolist() == targets + [-1] * (width - len(targets))
        assert int(batch.lengths[row]) == length + complete


@pytest.mark.parametrize("stride", [1, 3, 64])
def test_any_part_of_a_stream_is_that_of_the_joined_text(stride, monkeypatch) -> None:
    monkeypatch.setattr(stream_module, "_STRIDE", stride)
    for examples in (1, 2, 12):
        column = a_column("u2", (), examples=examples)
        joined = [symbol for i in range(examples) for symbol in (START, *column[i].tolist())]
        stream = Stream(column)
        assert stream.total == len(joined)
        for start in range(stream.total):
            for stop in range(start, 2 * stream.total):
                found = stream.read(start, stop)
                assert found.dtype == np.int64
                assert found.tolist() == (joined * 2)[start:stop]


def test_turns_are_made_when_they_are_asked_for() -> None:
    units = {"a": range(5), "b": [np.array([k]) for k in range(2)]}
    turns = Turns(units, np.array([0, 1, 0, 0]), accumulate=2)
    assert [turn.task for turn in turns] == ["a", "b", "a", "a"]
    assert [[int(np.ravel(unit)[0]) for unit in turn.batches] for turn in turns] == [[0, 1], [0, 1], [2, 3], [4]]
    assert turns[-1] == turns[3]
    assert [turn.batches for turn in turns[2:]] == [(2, 3), (4,)]
    with pytest.raises(IndexError):
        turns[4]
