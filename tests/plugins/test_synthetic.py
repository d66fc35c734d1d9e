"""The tasks `copy` and `adding`: what is made, how it is scored, and that the recipes run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from seqkit_synthetic import adding, copy, generator, listops, nested
from seqkit_synthetic.scores import adding_scores, copy_scores, running_scores

from seqkit import Prediction, UsageError, recipe
from tests.training.test_loop import run_it


@pytest.mark.parametrize(("lag", "items", "symbols"), [(100, 10, 8), (5, 1, 2), (12, 11, 40)])
def test_each_item_is_wanted_a_lag_after_it_came(lag: int, items: int, symbols: int) -> None:
    steps, tags = generator.copy("train", 3, lag=lag, items=items, symbols=symbols, seed=1)
    assert len(steps) == len(tags) == lag + items
    assert [tags[t + lag] for t in range(items)] == steps[:items]
    assert set(tags[:lag]) == {generator.BLANK}
    assert steps.index(generator.MARKER) == lag
    assert set(steps[items:]) <= {generator.BLANK, generator.MARKER}


def test_the_marked_numbers_are_one_in_each_half_and_their_sum_is_wanted() -> None:
    for number in range(50):
        steps, total = generator.adding("dev", number, length=21, seed=4)
        marked = [t for t, (_, mark) in enumerate(steps) if mark]
        assert len(steps) == 21
        assert marked[0] < 10 <= marked[1]
        assert total == pytest.approx(steps[marked[0]][0] + steps[marked[1]][0])
        assert ((steps[:, 0] >= 0) & (steps[:, 0] < 1)).all()


def test_the_same_sequences_are_made_each_time_and_others_for_each_split() -> None:
    for task in (copy(sizes=(4, 4, 4)), adding(sizes=(4, 4, 4))):
        train = list(task.read("train"))
        assert list(map(str, train)) == list(map(str, task.read("train")))
        assert [example.id for example in train] == ["train:1", "train:2", "train:3", "train:4"]
        inputs = [str(example.input) for split in ("train", "dev", "test") for example in task.read(split)]
        assert len(set(inputs)) == 12
    assert next(iter(copy(data_seed=2).read("dev"))) != next(iter(copy(data_seed=3).read("dev")))


def test_in_windows_the_items_are_written_out_again() -> None:
    (example,) = copy(lag=6, items=2, window=4, sizes=(1, 1, 1)).read("train")
    steps, tags = generator.copy("train", 0, lag=6, items=2, symbols=8, seed=1)
    assert example.target is None
    assert example.input == [*steps[:6], *tags[6:]]


def test_more_items_than_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="fewer than the lag of 5"):
        copy(lag=5, items=5)


def test_the_scores_are_those_of_items_and_of_squared_errors() -> None:
    predictions = [Prediction(["_", "_", "a", "b"]), Prediction(["_", "b", "b", "b"])]
    targets = [["_", "_", "a", "a"], ["_", "_", "b", "b"]]
    assert copy_scores(predictions, targets) == {"recall": 3 / 4, "accuracy": 6 / 8}
    assert adding_scores([Prediction(1.0), Prediction(0.5)], [1.5, 0.5])["mse"] == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("name", "sets"),
    [
        ("copy", ["tasks.copy.sizes=[40, 8, 8]"]),
        ("copy", ["tasks.copy={lag: 30, items: 3, window: 20, sizes: [40, 8, 8]}", "expect=null"]),
        ("adding", ["tasks.adding.sizes=[40, 8, 8]"]),
    ],
)
def test_the_recipes_run(name: str, sets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
    short = ["train.steps=3", "train.evaluate_every=3", "train.batch=8"]
    result = run_it(recipe.load(f"recipes/{name}.yaml", [*sets, *short]), tmp_path / "run")
    assert (
        f"{name}/test/{'mse' if name == 'adding' else 'nats' if 'expect=null' in sets else 'recall'}" in result.scores
    )


class TestNested:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9),
            ("[SM 5 6 [MED 1 2 ] ]", 2),
            ("[MED 9 1 4 ]", 4),
            ("[MIN [SM 9 9 9 ] 8 ]", 7),
        ],
    )
    def test_values_by_hand(self, text: str, value: int) -> None:
        assert nested.value_of(text.split()) == value

    @pytest.mark.parametrize("text", ["", "3", "[MAX 1", "[MAX ]", "[MAX 1 ] 2", "[MAX 12 ]", "[TOP 1 ]"])
    def test_what_is_no_expression_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"word|does not end"):
            nested.value_of(text.split())

    def test_expressions_are_as_long_as_wanted_and_always_the_same(self) -> None:
        task = listops(shortest=20, longest=60, sizes=(30, 5, 5))
        first, again = list(task.read("train")), list(task.read("train"))
        assert first == again
        assert all(20 <= len(example.input) <= 60 for example in first)
        assert len({" ".join(example.input) for example in first}) == 30
        assert {example.target for example in first} <= {*"0123456789"}
        assert next(iter(task.read("dev"))).input != first[0].input

    def test_training_may_have_shorter_ones_but_dev_and_test_not(self) -> None:
        task = listops(shortest=40, longest=60, train_shortest=5, sizes=(30, 10, 10))
        lengths = {split: [len(example.input) for example in task.read(split)] for split in ("train", "dev", "test")}
        assert 5 <= min(lengths["train"]) < 20
        assert min(lengths["dev"] + lengths["test"]) >= 40
        assert [*task.read("dev")] == [*listops(shortest=40, longest=60, sizes=(30, 10, 10)).read("dev")]

    def test_running_values_by_hand(self) -> None:
        text = "[MAX 2 5 [SM 4 3 ] 0 ]"
        inner, root = [0, 2, 5, 0, 4, 7, 7, 7, 7], [0, 2, 5, 5, 5, 5, 7, 7, 7]
        assert [*nested.running_values(text.split())] == [*zip(inner, root, strict=True)]

    def test_each_running_value_is_that_of_the_innermost_operation_if_it_ended_there(self) -> None:
        for example in listops(shortest=20, longest=60, sizes=(5, 1, 1), every_word="innermost").read("train"):
            assert len(example.target) == len(example.input)
            open_at: list[int] = []
            for place, (word, value) in enumerate(zip(example.input, example.target, strict=True)):
                if word in nested.OPERATORS:
                    open_at.append(place)
                    assert value == "0"
                    continue
                inner = example.input[open_at[-1] : place + 1]
                if word == nested.CLOSE:
                    open_at.pop()
                else:
                    inner = [*inner, nested.CLOSE]
                assert int(value) == nested.value_of(inner)

    def test_with_values_at_every_word_accuracy_is_that_of_the_last(self) -> None:
        predictions = [Prediction(["0", "3", "3"]), Prediction(["0", "2"])]
        scores = running_scores(predictions, [["0", "5", "3"], ["0", "1"]])
        assert scores == {"accuracy": 1 / 2, "word_accuracy": 3 / 5}

    def test_the_roots_value_is_that_of_its_arguments_so_far(self) -> None:
        for example in listops(shortest=20, longest=60, sizes=(5, 1, 1), every_word="both").read("train"):
            depth = arguments = 0
            for place, (word, values) in enumerate(zip(example.input, example.target, strict=True)):
                depth += (word in nested.OPERATORS) - (word == nested.CLOSE)
                if depth == 1 and place:
                    arguments += 1
                    ended = [*example.input[: place + 1], nested.CLOSE]
                    root = nested.value_of(ended)
                elif depth:
                    root = root if arguments else 0
                else:
                    root = nested.value_of(example.input)
                assert values.split("/")[1] == str(root)

    @pytest.mark.parametrize("every_word", [None, "innermost", "both"])
    def test_the_recipe_runs_with_one_value_and_with_all(
        self, every_word: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SEQKIT_CACHE", str(tmp_path / "cache"))
        head = {"use": "tag"} if every_word else {"use": "classify", "pool": "last"}
        options = {"every_word": every_word, "longest": 120, "sizes": [24, 6, 6], "head": head}
        sets = [f"tasks.listops={json.dumps(options)}", "expect=null", "train.steps=2", "train.evaluate_every=2"]
        result = run_it(recipe.load("recipes/listops.yaml", sets), tmp_path / "run")
        assert 0.0 <= result.scores["listops/test/accuracy"] <= 1.0

    def test_the_guess_sees_the_digits_of_the_root_only(self) -> None:
        assert nested.guess(["[MAX", "2", "[MAX", "9", "9", "]", "3", "]"]) == 3
        assert nested.guess(["[MAX", "[MAX", "9", "9", "]", "]"]) == 0

    def test_lengths_that_are_not_to_be_had_are_refused(self) -> None:
        with pytest.raises(UsageError, match="shortest: 100 should be at least ten less than longest, 101"):
            listops(shortest=100, longest=101)
        with pytest.raises(UsageError, match="train_shortest: 55 should be at least ten less than longest, 60"):
            listops(shortest=20, longest=60, train_shortest=55)
