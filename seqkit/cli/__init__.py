"""The command line: `seqkit VERB ...`, one module per verb.

Verbs are imported when they are called, so that `seqkit --help` takes little longer than the start of Python, and a
verb only as long as what it needs. Results go to stdout, everything else to stderr. Exit codes: 0 ok, 1 the run failed,
2 usage, recipe or data, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click

from seqkit._version import __version__
from seqkit.cli.output import echo
from seqkit.errors import QuietExit, SeqkitError, printable, suggest
from seqkit.public_api import DoorWarning
from seqkit.runtime import allocator

VERBS = {
    "run": "Train a recipe.",
    "data": "Show what a recipe reads, leaves out and warns of, without training.",
    "evaluate": "Score a trained model on a split of its data, or on other data.",
    "predict": "Predict for lines of text, files or standard input; prints JSON lines.",
    "stream": "Predict for a sequence while it is coming, on standard input.",
    "generate": "Generate text with a trained model.",
    "serve": "Serve trained models over HTTP, with a page to try them.",
    "ensemble": "Make one model of several trained ones, which averages what they predict.",
    "export": "Write a trained model to a file that runs without seqkit: ONNX or torch.export.",
    "runs": "Show the runs in a folder, or remove failed ones.",
    "compare": "Say which of several models is better, and whether that is more than chance.",
    "report": "Write all that is known of runs into one page of HTML.",
    "sweep": "Train a recipe with many settings of its options, and find the best.",
    "reproduce": "Train a recipe with several seeds and check the scores it promises.",
    "plan": "Show what each way of making batches costs.",
    "prove": "Prove that answers do not depend on padding, batch or order.",
    "verify-resume": "Kill and resume a run; compare it with an uninterrupted one.",
    "recipes": "List, show and check recipes.",
    "tasks": "List the tasks that a recipe can use.",
    "plugins": "List, create, examine and check plugins.",
    "doctor": "Look for problems of this installation.",
}
"""{verb: its line in `seqkit --help`}. The verb itself is `command` in the module of its name."""


class Verbs(click.Group):
    """A group whose commands are imported when they are called, and whose errors are shown as plain sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"seqkit.cli.{cmd_name.replace('-', '_')}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"no verb is called '{args[0]}'; {suggest(args[0], VERBS) or 'available: ' + ', '.join(VERBS)}")
        return super().resolve_command(ctx, args)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click makes it; arguments that are shown in a message cannot move the cursor of a terminal."""
        with _printable_messages():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb. Problems that the user can solve are shown as one line each; only bugs show a traceback."""
        try:
            allocator.configure()
            with _printable_messages():
                return super().invoke(ctx)
        except QuietExit as error:
            ctx.exit(error.exit_code)
        except SeqkitError as error:
            if ctx.params.get("debug"):
                raise
            _exit(ctx, str(error) + _plugin_tracebacks(str(error)), error.exit_code)
        except KeyboardInterrupt:
            if ctx.params.get("debug"):
                raise
            _exit(ctx, "interrupted", 130)


@contextmanager
def _printable_messages() -> Iterator[None]:
    """Click's own errors repeat arguments as they were given; their messages are made printable."""
    try:
        yield
    except click.UsageError as error:
        message = error.format_message()
        if printable(message) == message:
            raise
        raise click.UsageError(printable(message), error.ctx) from error


def _plugin_tracebacks(message: str) -> str:
    """The tracebacks of the plugins whose failures are part of a message: the user did not cause them.

    The registry is not imported for it: a verb that has not done so has no failures.
    """
    registry = sys.modules.get("seqkit.registry.registry")
    text = ""
    for failure in registry.failures() if registry is not None else ():
        if str(failure) in message and not failure.diagnosis.missing:
            lines = failure.diagnosis.trace.rstrip().split("\n")
            text += f"\ntraceback from {failure.plugin.distribution}:\n" + "\n".join(f"  {line}" for line in lines)
    return text


def _exit(ctx: click.Context, message: str, code: int) -> NoReturn:
    echo(message, err=True)
    ctx.exit(code)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="seqkit")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--no-plugins", is_flag=True, help="Hide all third-party plugins.")
@click.pass_context
def main(ctx: click.Context, debug: bool, no_plugins: bool) -> None:
    """Train recurrent sequence models whose answers do not depend on padding, batch, chunking or restart.

    \b
    seqkit run charlm              train a recipe that comes with seqkit
    seqkit run my.yaml --set train.epochs=3
    seqkit recipes list            the recipes that come with seqkit
    """
    if not sys.warnoptions:
        # Python hides deprecation warnings by default; whoever runs a plugin that will stop working should see them.
        warnings.simplefilter("default", DoorWarning)
    if no_plugins:
        before = os.environ.get("SEQKIT_PLUGINS")
        os.environ["SEQKIT_PLUGINS"] = "off"
        ctx.call_on_close(lambda: _restore("SEQKIT_PLUGINS", before))


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
