"""Recipes: every mistake at once with its location, flags checked like the file, and a resolved copy."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqkit import recipe
from seqkit.errors import RecipeError, UsageError
from seqkit.recipe import Recipe, bundled
from seqkit.recipe.json_schema import json_schema
from seqkit.settings import TrainSettings
from seqkit.types import Choice, Task
from tests.helpers.third_party import install

GOOD = """
tasks:
  splice: {k: 4}
encoder: {use: lstm, hidden: 8}
"""


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder on sys.path with a third-party task `splice` in it, and some heads that do not work."""
    root = tmp_path_factory.mktemp("site")
    install(root)
    heads = {"seqkit.heads": {"odd": "odd", "broken": "nothing"}, "seqkit.encoders": {"unfit": "unfit"}}
    code = "def odd(dim, target, layer, *, x: int = 1): ...\ndef unfit(dim, *, hidden): ..."
    install(root, distribution="odds", code=code, entries=heads)
    entries = {"seqkit.tasks": {"no-task": "no_task", "crash": "crash", "value": "value", "bad-head": "bad_head"}}
    code = """
        from dataclasses import replace
        from seqkit import Task, Tokens, Label
        def no_task(): return 3
        def crash(): return 1 / 0
        def value(*, a: int = 1): raise ValueError("a and b exclude each other")
        def bad_head():
            return Task(read=list, input=Tokens(), target=Label(), head={"use": "classify", "pol": 1}, best="x")
    """
    install(root, distribution="rough", code=code, entries=entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        for name in ("SEQKIT_PLUGINS", "SEQKIT_RAISE_PLUGIN_ERRORS"):
            patch.delenv(name, raising=False)
        yield root


def parse(text: str, *sets: str, source: str = "r.yaml") -> Recipe:
    return recipe.parse(textwrap.dedent(text).lstrip("\n").encode(), source, sets)


def wrong(text: str, *sets: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(text, *sets)
    return str(caught.value).split("\n")


class TestGood:
    def test_every_field(self) -> None:
        parsed = parse(GOOD)
        entry = parsed.tasks["splice"]
        assert (entry.name, entry.use, entry.weight) == ("splice", "splice", 1.0)
        assert entry.options["k"] == 4
        assert entry.options["widths"] == (1, 2)
        assert entry.head.use == "classify"
        assert entry.head.options["pool"] == "max"  # the task's choice
        assert entry.head.options["dropout"] == 0.0  # the head's default
        assert parsed.encoder.use == "lstm"
        assert (parsed.encoder.options["hidden"], parsed.encoder.options["layers"], parsed.dim) == (8, 1, 128)
        assert "dim" not in parsed.encoder.options
        assert (parsed.seed, parsed.device, parsed.expect, parsed.name) == (1, "auto", {}, "r")
        assert parsed.text.startswith(b"tasks:")
        assert isinstance(parsed.train, TrainSettings)
        assert parsed.train.optimizer.options["lr"] == 1e-3
        assert isinstance(recipe.build_task(entry), Task)

    def test_every_section(self) -> None:
        parsed = parse(
            """
            seed: 7
            device: cuda:1
            tasks:
              one: {use: splice, weight: 2, head: {use: classify, pool: mean}}
              two: {use: "vendor:splice", head: classify}
              splice:
            encoder: {use: gru, dim: 16, bidirectional: true}
            train: {epochs: 2, optimizer: sgd, schedule: {use: cosine, warmup: 3}, clip: null}
            expect: {one/test/loss: {at_least: 0.5, at_most: 1}, two/dev/loss: {at_most: 2}}
            """
        )
        assert (parsed.seed, parsed.device, parsed.dim) == (7, "cuda:1", 16)
        assert [entry.use for entry in parsed.tasks.values()] == ["splice", "vendor:splice", "splice"]
        assert parsed.tasks["one"].head.options["pool"] == "mean"
        assert parsed.tasks["two"].head.options["pool"] == "last"  # a head that the recipe names starts afresh
        assert parsed.tasks["one"].weight == 2.0
        assert parsed.train.optimizer.use == "sgd"
        assert parsed.train.schedule == Choice("cosine", {"warmup": 3, "floor": 0.0})
        assert parsed.train.clip is None
        assert parsed.expect == {
            "one/test/loss": {"at_least": 0.5, "at_most": 1.0},
            "two/dev/loss": {"at_most": 2.0},
        }

    def test_options_without_use_go_on_top_of_the_default(self) -> None:
        parsed = parse("tasks: {splice: {head: {dropout: 0.5}}}\nencoder: gru\ntrain: {optimizer: {lr: 1}}")
        assert parsed.train.optimizer.use == "adamw"
        assert parsed.train.optimizer.options["lr"] == 1.0
        head = parsed.tasks["splice"].head
        assert (head.use, head.options["pool"], head.options["dropout"]) == ("classify", "max", 0.5)

    def test_numbers_are_what_was_asked_for(self) -> None:
        parsed = parse(GOOD, "train.optimizer.lr=1", "tasks.splice.rate=2", "train.clip=3")
        for value in (parsed.train.optimizer.options["lr"], parsed.tasks["splice"].options["rate"], parsed.train.clip):
            assert type(value) is float

    def test_texts_are_plain_texts(self) -> None:
        parsed = parse(GOOD, "tasks.splice.title=no", 'tasks.splice.names={"on": 1}')
        options = parsed.tasks["splice"].options
        assert (options["title"], type(options["title"])) == ("no", str)
        assert {type(key) for key in options["names"]} == {str}

    def test_relative_paths_start_from_the_file_or_flag(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "recipes").mkdir()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        text = GOOD.replace("k: 4", "folder: data, either: other")
        parsed = parse(text, source="recipes/r.yaml").tasks["splice"].options
        assert parsed["folder"] == tmp_path / "recipes" / "data"
        assert parsed["either"] == tmp_path / "recipes" / "other"
        monkeypatch.chdir(tmp_path / "elsewhere")
        parsed = parse(text, "tasks.splice.folder=x", source="../recipes/r.yaml").tasks["splice"].options
        assert parsed["folder"] == tmp_path / "elsewhere" / "x"
        parsed = parse(text, "tasks.splice={folder: /abs, either: built-in}").tasks["splice"].options
        assert parsed["folder"] == Path("/abs")
        assert parsed["either"] == "built-in"


EIGHT = """
# A recipe with eight mistakes.
seed: -1
tasks:
  splice: {k: four, with: 2, head: language}
encoder:
  use: lstm
  droput: 0.1
  bidirectional: true
train:
  epochs: 3
  optimizer: {use: adamm}
  epochs: 4
expect: {splice/test/f1: {at_least: high}}
"""


class TestMistakes:
    def test_all_are_reported_at_once_in_reading_order(self) -> None:
        assert wrong(EIGHT) == [
            "r.yaml:2:7: seed: must be at least 0, got -1",
            "r.yaml:4:15: tasks.splice.k: expected a whole number, got the text 'four'",
            "r.yaml:4:21: tasks.splice.with: unknown option; did you mean 'widths'?",
            "r.yaml:4:36: tasks.splice.head: 'language' cannot serve targets of the kind Label; heads that can: "
            "classify; perhaps also: broken, odd",
            "r.yaml:7:3: encoder.droput: unknown option; "
            "did you mean 'dropout' or 'input_dropout' or 'output_dropout'?",
            "r.yaml:11:20: train.optimizer.use: no optimizer is called 'adamm'; "
            "did you mean 'adam' or 'adamw' or 'lazy_adamw'? "
            "available: adamw, adam, sgd, lazy_adamw",
            "r.yaml:12:3: the key 'epochs' is given twice in this mapping; first at r.yaml:10:3",
            "r.yaml:13:37: expect.splice/test/f1.at_least: expected a number, got the text 'high'",
        ]

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("k: 4", "k: 0", "2:15: tasks.splice.k: must be at least 1, got 0"),
            ("k: 4", "k: 1.0", "2:15: tasks.splice.k: expected a whole number, got the number 1.0"),
            ("k: 4", "k: true", "2:15: tasks.splice.k: expected a whole number, got true"),
            ("k: 4", "k: ", "2:14: tasks.splice.k: expected a whole number, got null"),
            ("k: 4", "k: [1]", "2:15: tasks.splice.k: expected a whole number, got a list"),
            ("k: 4", "rate: true", "2:18: tasks.splice.rate: expected a number, got true"),
            ("k: 4", "rate: x", "2:18: tasks.splice.rate: expected a number, got the text 'x'"),
            ("k: 4", "rate: .inf", "2:18: the number '.inf' is not allowed; give a finite number"),
            (
                "k: 4",
                "mode: fats",
                "tasks.splice.mode: expected 'fast' or 'slow', got the text 'fats'; did you mean 'fast'",
            ),
            ("k: 4", "folder: 3", "tasks.splice.folder: expected a path, got the number 3"),
            ("k: 4", "folder: ''", "tasks.splice.folder: expected a path, got empty text"),
            ("k: 4", "widths: 3", "tasks.splice.widths: expected a list, got the number 3"),
            ("k: 4", "widths: [1, x, {}]", "2:24: tasks.splice.widths[1]: expected a whole number, got the text 'x'"),
            ("k: 4", "widths: [1, x, {}]", "2:27: tasks.splice.widths[2]: expected a whole number, got a mapping"),
            ("k: 4", "names: {a: 1, b: x}", "2:29: tasks.splice.names.b: expected a whole number, got the text 'x'"),
            ("k: 4", "floor: -1", "tasks.splice.floor: must be at least 0, got -1"),
            ("k: 4", "either: 3", "tasks.splice.either: expected 'built-in' or a path, got the number 3"),
            ("k: 4", "title: 3", "tasks.splice.title: expected text, got the number 3"),
            ("k: 4", "fails: yes", "expected true or false, got the text 'yes'; YAML 1.2 has only true and false"),
            ("k: 4", "weight: 0", "2:20: tasks.splice.weight: must be more than 0, got 0"),
            ("k: 4", "fails: true", "2:3: tasks.splice: the options do not go together"),
            ("splice: {k: 4}", "slice: {k: 4}", "2:3: tasks.slice: no task is called 'slice'; did you mean 'splice'?"),
            (
                "splice: {k: 4}",
                "a b: {use: splice}",
                "2:3: tasks.a b: a task's name may have letters, digits",
            ),
            ("splice: {k: 4}", "x: {use: 3}", "2:12: tasks.x.use: expected a name, got the number 3"),
            ("splice: {k: 4}", "splice: 3", "2:11: tasks.splice: expected a mapping of options, got the number 3"),
            ("splice: {k: 4}", "no-task:", "2:3: tasks.no-task: the task 'no-task' returned int, not a seqkit.Task"),
            ("splice: {k: 4}", "crash:", "2:3: tasks.crash: the task 'crash' failed: ZeroDivisionError"),
            ("splice: {k: 4}", "value:", "2:3: tasks.value: a and b exclude each other"),
            ("splice: {k: 4}", "bad-head:", "2:3: tasks.bad-head.head.pol: unknown option; did you mean 'pool'?"),
            ("k: 4", "head: tagg", "2:18: tasks.splice.head.use: no head is called 'tagg'; did you mean 'tag'?"),
            (
                "k: 4",
                "head: tag",
                "2:18: tasks.splice.head: 'tag' cannot serve targets of the kind Label; heads that can: classify",
            ),
            ("k: 4", "head: broken", "2:18: tasks.splice.head.use: the head 'broken' of odds 1.2 does not load: Attr"),
            (
                "k: 4",
                "head: {use: classify, pool: 3}",
                "2:40: tasks.splice.head.pool: expected 'last', 'mean', 'max' or",
            ),
            ("k: 4", "head: [x]", "2:18: tasks.splice.head: expected a mapping of options, got a list"),
            (
                "use: lstm",
                "use: lstn",
                "3:16: encoder.use: no encoder is called 'lstn'; did you mean 'lstm' or 'slstm' or 'lnlstm'?",
            ),
            (
                "use: lstm, ",
                "",
                "3:1: encoder.use: missing; available: gru, jordan, lngru, lnlstm, lru, lstm, mingru, minlstm, none, "
                "rnn, slstm, tdnn",
            ),
            ("use: lstm", "use: unfit", "3:16: the option 'hidden' of"),
            (
                "use: lstm",
                "use: os.system",
                "3:16: encoder.use: no encoder is called 'os.system'; ",
            ),
            ("hidden: 8", "__class__: x", "3:22: encoder.__class__: unknown option; known: bidirectional, dim,"),
            ("splice: {k: 4}", "__class__:", "2:3: tasks.__class__: no task is called '__class__'; "),
            ("hidden: 8", "dim: 0", "3:27: encoder.dim: must be at least 1, got 0"),
            ("hidden: 8", "dropout: 1", "3:31: encoder.dropout: must be less than 1, got 1"),
            (
                "encoder: {use: lstm, hidden: 8}",
                "seed: 1",
                "1:1: encoder: missing; give encoder: {use: NAME}; available",
            ),
            ("encoder", "device: gpu\nencoder", "3:9: device: expected auto, cpu, cuda or cuda:N, got the text 'gpu'"),
            ("encoder", "train: 3\nencoder", "3:8: train: expected a mapping of options, got the number 3"),
            (
                "encoder",
                "train: {lr: 1}\nencoder",
                "3:9: train.lr: unknown option; the learning rate belongs to the optimizer: ",
            ),
            ("encoder", "train: {optimizer: 3}\nencoder", "train.optimizer: expected a mapping of options, got the n"),
            (
                "encoder",
                "train: {optimizer: null}\nencoder",
                "train.optimizer: expected a mapping of options, got null",
            ),
            ("encoder", "train: {optimizer: {lr: 0}}\nencoder", "3:25: train.optimizer.lr: must be more than 0, got 0"),
            ("encoder", "tran: {}\nencoder", "3:1: tran: unknown option; did you mean 'train'?"),
            ("encoder", "expect: {x: 1}\nencoder", "3:10: expect.x: expected task/split/score; for example"),
            (
                "encoder",
                "expect: {splic/test/f: {}}\nencoder",
                "the recipe has no task 'splic'; did you mean 'splice'?",
            ),
            ("encoder", "expect: {splice/tst/f: {}}\nencoder", "no split is called 'tst'; did you mean 'test'?"),
            ("encoder", "expect: {splice/dev/f: {}}\nencoder", "nothing is expected; give at_least or at_most"),
            (
                "encoder",
                "expect: {splice/dev/f: {at_most: x}}\nencoder",
                ".at_most: expected a number, got the text 'x'",
            ),
            (
                "encoder",
                "expect: {splice/dev/f: {atmost: 1}}\nencoder",
                ".atmost: unknown option; did you mean 'at_most'",
            ),
            ("encoder", "expect: {splice/dev/f: {at_most: 1, at_least: 2}}\nencoder", "at_least 2 is above at_most 1"),
        ],
    )
    def test_each_has_its_sentence_and_location(self, old: str, new: str, message: str) -> None:
        assert old in GOOD
        lines = wrong(GOOD.replace(old, new, 1))
        assert any(message in line for line in lines), lines
        assert all(line.startswith("r.yaml:") for line in lines)

    @pytest.mark.parametrize("text", ["[]", "3", "text", "- a"])
    def test_a_recipe_is_a_mapping(self, text: str) -> None:
        assert "1:1: a recipe: expected a mapping of options" in wrong(text)[0]

    def test_no_tasks(self) -> None:
        assert "1:1: tasks: missing; available: adding, bad-head, charlm," in wrong("encoder: gru")[0]
        assert "2:1: tasks: at least one is needed" in wrong("encoder: gru\ntasks:")[0]

    def test_a_missing_option_is_reported_where_it_should_be(self, site: Path) -> None:
        entries = {"seqkit.tasks": {"strict": "strict"}}
        install(site, distribution="strict", code="def strict(*, folder: str, k: int): ...", entries=entries)
        assert wrong("tasks:\n  strict: {k: x}\nencoder: gru") == [
            "r.yaml:2:3: tasks.strict.folder: missing; this option has no default",
            "r.yaml:2:15: tasks.strict.k: expected a whole number, got the text 'x'",
        ]

    @pytest.mark.parametrize(("value", "length"), [("[]", 0), ("[1]", 1)])
    def test_a_list_of_the_wrong_length(self, site: Path, value: str, length: int) -> None:
        entries = {"seqkit.tasks": {"pair": "pair"}}
        install(site, distribution="pair", code="def pair(*, of: tuple[int, int] = (1, 2)): ...", entries=entries)
        (line,) = wrong(f"tasks:\n  pair: {{of: {value}}}\nencoder: gru")
        assert line == f"r.yaml:2:14: tasks.pair.of: must have exactly 2 items, got {length}"

    def test_a_head_that_predicts_the_next_step_needs_a_causal_encoder(self) -> None:
        text = "tasks: {splice: {target: next}}\nencoder: {use: gru, bidirectional: %s}"
        assert parse(text % "false").tasks["splice"].head.use == "language"
        assert wrong(text % "true") == [
            "r.yaml:2:36: encoder.bidirectional: the head 'language' of tasks.splice predicts the next step, "
            "which a bidirectional encoder has already read; set it to false"
        ]

        lines = wrong((text % "true").replace("{use", "{droput: 1, use"))
        assert [line.split(": ")[1] for line in lines] == ["encoder.droput", "encoder.bidirectional"]

    def test_a_head_with_a_wrong_option_may_be_the_wrong_head_too(self) -> None:
        lines = wrong(GOOD.replace("k: 4", "head: {use: tag, dropuot: 0.1}"))
        assert [line.split(";")[0] for line in lines] == [
            "r.yaml:2:18: tasks.splice.head: 'tag' cannot serve targets of the kind Label",
            "r.yaml:2:29: tasks.splice.head.dropuot: unknown option",
        ]

    def test_a_head_is_not_checked_against_a_task_that_is_a_guess(self) -> None:
        (line,) = wrong(GOOD.replace("k: 4", "target: nxt, head: language"))
        assert "tasks.splice.target: expected 'label' or 'next'" in line

    def test_what_the_parser_refused_is_not_reported_again(self) -> None:
        assert wrong(GOOD.replace("8", ".nan").replace("k: 4", "k: !!str 4")) == [
            "r.yaml:2:15: the tag '!!str' is not allowed; remove it: the option decides the type",
            "r.yaml:3:30: the number '.nan' is not allowed; give a finite number",
        ]

    def test_an_author_may_see_the_error_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEQKIT_RAISE_PLUGIN_ERRORS", "1")
        with pytest.raises(ZeroDivisionError):
            parse("tasks: {crash: }\nencoder: gru")


class TestSet:
    def test_flags_win_and_the_last_one_counts(self) -> None:
        parsed = parse(GOOD, "encoder.hidden=3", "encoder.hidden=5", "train.epochs=7", "tasks.splice.k=9", "seed=3")
        assert parsed.encoder.options["hidden"] == 5
        assert parsed.train.epochs == 7
        assert parsed.tasks["splice"].options["k"] == 9
        assert parsed.seed == 3
        assert parsed.text == GOOD.lstrip("\n").encode()

    def test_flow_values_lists_and_null(self) -> None:
        parsed = parse(
            GOOD, "encoder={use: gru, hidden: 2}", "tasks.splice.widths=[3, 4]", "train.clip=", "train.steps=null"
        )
        assert parsed.encoder.use == "gru"
        assert parsed.tasks["splice"].options["widths"] == (3, 4)
        assert parsed.train.clip is None

    def test_into_a_list(self) -> None:
        text = GOOD.replace("k: 4", "widths: [1, 2]")
        assert parse(text, "tasks.splice.widths.1=5").tasks["splice"].options["widths"] == (1, 5)
        assert (
            "widths is a list of 2, and '2' is not an index of it; items are counted from 0"
            in wrong(text, "tasks.splice.widths.2=5")[0]
        )

    def test_under_a_choice_that_is_a_name_alone_in_the_file(self) -> None:
        parsed = parse(GOOD + "train: {optimizer: sgd}", "train.optimizer.momentum=0.5")
        assert parsed.train.optimizer.use == "sgd"
        assert parsed.train.optimizer.options["momentum"] == 0.5

    def test_where_the_file_says_nothing(self) -> None:
        parsed = parse(GOOD, "train.optimizer.lr=0.5", "expect.splice/test/loss.at_least=0.5", "tasks.two.use=splice")
        assert parsed.train.optimizer.options["lr"] == 0.5
        assert parsed.expect == {"splice/test/loss": {"at_least": 0.5}}
        assert list(parsed.tasks) == ["splice", "two"]

    def test_options_of_another_choice_are_refused_by_name(self) -> None:
        text = GOOD.replace("hidden: 8", "hidden: 8, forget_bias: 2.0")
        assert parse(text).encoder.options["forget_bias"] == 2.0
        assert wrong(text, "encoder.use=gru") == [
            "r.yaml:3:33: encoder.forget_bias: 'gru', chosen by --set encoder.use=gru, has no such option; "
            + wrong(GOOD.replace("hidden: 8", "forget_bias: 1"), "encoder.use=gru")[0]
            .partition("option; ")[2]
            .replace("gru}", "gru, hidden: 8}")
        ]
        assert parse(text, "encoder.use=rnn", "encoder={use: gru}").encoder.use == "gru"

    def test_how_to_replace_the_block_of_another_choice(self) -> None:
        """What the message suggests is what to give: with it the recipe is right."""
        changes = {
            "encoder.use=none": "hidden: 8, dropout: 0.1, layer_norm: true, dim: 12",
            "encoder.use=rnn": "hidden: 8, forget_bias: 2.0",
            "train.optimizer.use=sgd": "hidden: 8}\ntrain: {optimizer: {use: adamw, lr: 0.1, betas: [0.8, 0.9]}",
        }
        for flag, options in changes.items():
            text = GOOD.replace("hidden: 8", options)
            first, *others = wrong(text, flag)
            assert not any("to replace" in line for line in others)
            _, suggested = shlex.split(first.partition("to replace the whole block: ")[2])
            changed = parse(text, suggested)
            assert flag.rpartition("=")[2] in (changed.encoder.use, changed.train.optimizer.use)
            assert changed.encoder.options.get("hidden", 8) == 8
            assert changed.dim == (12 if flag == "encoder.use=none" else parse(GOOD).dim)

    @pytest.mark.parametrize(
        ("flag", "message"),
        [
            ("encoder.droput=0.1", "encoder.droput: unknown option; did you mean 'dropout'"),
            ("encodr.hidden=1", "encodr: unknown option; did you mean 'encoder'?"),
            ("encoder.hidden=many", "encoder.hidden: expected a whole number, got the text 'many'"),
            ("encoder.hidden=0", "encoder.hidden: must be at least 1, got 0"),
            ("encoder.hidden.x=0", "encoder.hidden is a single value; set it as encoder.hidden=..."),
            ("encoder.hidden", "expected NAME=VALUE; for example train.epochs=3"),
            ("=3", "expected NAME=VALUE"),
            ("encoder..hidden=3", "expected NAME=VALUE"),
            ("tasks.slice.k=3", "the recipe has no task 'slice'; did you mean 'splice'? its tasks: splice"),
            ("seed=!!int 3", "the tag '!!int' is not allowed"),
            ("seed=[1", "not valid YAML"),
            ("seed=*x", "the anchor 'x' is not defined above"),
            ("seed=.inf", "the number '.inf' is not allowed"),
            ("train={epochs: 1, epochs: 2}", "the key 'epochs' is given twice in this mapping"),
            ("train.epochs=%YAML 1.1", "directives ('%') are not allowed"),
            ("seed=" + "[" * 100_000, "nested more than 32 levels deep"),
            ("tasks.splice.title=\udcff", "byte 0xff is not UTF-8"),
        ],
    )
    def test_a_wrong_flag_is_named(self, flag: str, message: str) -> None:
        (line,) = wrong(GOOD, flag)
        shown = flag if len(flag) <= 100 else flag[:97] + "..."
        assert line.startswith(f"--set {shown}: ")
        assert message in line

    def test_flags_come_after_the_file(self) -> None:
        lines = wrong(GOOD.replace("k: 4", "k: 0"), "seed=-1", "train.epochs=0")
        assert [line.partition(": ")[0] for line in lines] == ["r.yaml:2:15", "--set seed=-1", "--set train.epochs=0"]


class TestResolved:
    def test_is_complete_and_reads_back_equal(self) -> None:
        parsed = parse(GOOD, "train.schedule=cosine", "tasks.splice.folder=x", "expect.splice/dev/loss.at_least=1")
        text = parsed.resolved()
        assert text.startswith("# r: every option written out by seqkit ")
        again = recipe.parse(text.encode(), "elsewhere/resolved.yaml")
        assert again == parsed
        assert again.resolved().partition("\n")[2] == text.partition("\n")[2]
        for name in ("weight: 1.0", "pool: max", "lr: 0.001", "warmup: 0", "hidden: 8", "dim: 128", "device: auto"):
            assert name in text
        assert str(Path.cwd() / "x") in text

    def test_recipes_that_differ_are_not_equal(self) -> None:
        assert parse(GOOD) != parse(GOOD, "encoder.hidden=9")
        assert parse(GOOD) == parse(GOOD + "seed: 1\n", source="other.yaml")

    @settings(max_examples=30, deadline=None)
    @given(
        title=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=10),
        rate=st.floats(allow_nan=False, allow_infinity=False),
        widths=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
        names=st.dictionaries(st.sampled_from(["no", "a b", "é", "<<", "1"]), st.integers(0, 9)),
        lr=st.floats(1e-300, 1e300),
    )
    def test_whatever_the_options_are(
        self, title: str, rate: float, widths: Sequence[int], names: dict[str, int], lr: float
    ) -> None:
        from seqkit.recipe.writer import emit

        options = {"title": title, "rate": rate, "widths": list(widths), "names": names}
        text = emit({"tasks": {"splice": options}, "encoder": "gru", "train": {"optimizer": {"lr": lr}}})
        parsed = parse(text)
        assert parsed.tasks["splice"].options["title"] == title
        again = recipe.parse(parsed.resolved().encode(), "r.yaml")
        assert again == parsed
        assert repr(again.tasks) == repr(parsed.tasks)


class TestFiles:
    def test_a_path_or_a_bundled_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "mine.yaml"
        file.write_text(GOOD)
        parsed = recipe.load(file)
        assert (parsed.name, parsed.source, parsed.text) == ("mine", str(file), GOOD.encode())
        ours = tmp_path / "ours.yaml"
        ours.write_text(GOOD + "seed: 5\n")
        monkeypatch.setattr(bundled, "find_files", lambda: {"ours": ours})
        monkeypatch.chdir(tmp_path / "..")
        assert (recipe.load("ours").seed, recipe.load("ours").name) == (5, "ours")

    def test_neither(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bundled, "find_files", lambda: {"charlm": tmp_path, "sentiment": tmp_path})
        with pytest.raises(UsageError) as caught:
            recipe.load("recipes/charml.yaml")
        assert str(caught.value) == (
            "there is no recipe file 'recipes/charml.yaml'; did you mean 'charlm'? "
            "recipes that come with seqkit: charlm, sentiment"
        )

    @pytest.mark.parametrize("name", ["x" * 5000, "a\0b"])
    def test_names_that_no_file_can_have(self, name: str) -> None:
        with pytest.raises(UsageError):
            recipe.load(name)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is a folder"):
            recipe.load(tmp_path)

    def test_an_endless_file(self) -> None:
        with pytest.raises(UsageError, match="is a device, not a regular file"):
            recipe.load("/dev/zero")

    def test_bundled_recipes_are_valid_and_describe_themselves(self) -> None:
        for name, file in bundled.find_files().items():
            checked = recipe.load(name)
            assert checked.name == name
            assert bundled.description_of(file.read_text("utf-8")), name
            assert recipe.parse(checked.resolved().encode(), "r.yaml") == checked

    def test_about(self) -> None:
        assert bundled.description_of("# One.\n#  Two\n\n# three\nseed: 1") == ["One.", "Two"]
        assert bundled.description_of("seed: 1") == []


class TestEditor:
    def test_knows_every_option_of_every_plugin(self) -> None:
        schema = json_schema()
        kinds = schema["properties"]["tasks"]["properties"]["splice"]["anyOf"]
        splice = next(kind for kind in kinds if kind.get("properties", {}).get("use") == {"const": "splice"})
        assert "required" not in splice or "use" not in splice["required"]
        assert splice["properties"]["k"] == {
            "default": 3,
            "description": "letters a symbol.",
            "minimum": 1,
            "type": "integer",
        }
        assert splice["properties"]["mode"]["enum"] == ["fast", "slow"]
        assert splice["properties"]["widths"] == {"default": [1, 2], "items": {"type": "integer"}, "type": "array"}
        assert splice["additionalProperties"] is False
        encoders = schema["properties"]["encoder"]["anyOf"]
        lstm = next(form for form in encoders if form.get("properties", {}).get("use") == {"const": "lstm"})
        assert {"use", "dim", "hidden", "layers", "bidirectional"} <= set(lstm["properties"])
        assert lstm["required"] == ["use"]
        train = schema["properties"]["train"]["anyOf"][0]["properties"]
        assert train["optimizer"]["anyOf"][0] == {"enum": ["adam", "adamw", "lazy_adamw", "sgd"]}
        assert train["optimizer"]["default"] == {"use": "adamw"}
        assert "title" not in str(sorted(train["epochs"]))

    def test_names_what_it_had_to_leave_out(self) -> None:
        assert "the head 'broken' of odds 1.2 does not load" in json_schema()["$comment"]

    def test_is_json(self) -> None:
        import json

        assert json.loads(json.dumps(json_schema())) == json_schema()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_recipe_is_a_recipe_or_a_list_of_locations(data: st.DataObject) -> None:
    text = bytearray(EIGHT.encode() if data.draw(st.booleans()) else GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text) - 1))
        text[start : start + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"[", b"{", b": "])
        )
    locations = []
    try:
        recipe.parse(bytes(text), "r.yaml")
    except RecipeError as error:
        locations = [problem.where for problem in error.problems]
        assert locations
    assert all(location.startswith("r.yaml:") for location in locations)
