"""The command line: `seqkit VERB ...`, one file a verb.

Verbs are imported when they are called, so that `seqkit --help` costs little more than Python's own start and a verb
pays only for what it needs. Results go to stdout, everything else to stderr. Exit codes: 0 ok, 1 the run failed,
2 usage, recipe or data, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import Any, NoReturn

import click

from seqkit._version import __version__
from seqkit.errors import SeqkitError, suggest
from seqkit.public_api import DoorWarning

VERBS = {
    "run": "Train what a recipe says.",
    "evaluate": "Score a trained model on a split of its data.",
    "predict": "Lines or a file in, JSON lines out.",
    "generate": "Let a language model write.",
    "reproduce": "Train a recipe with several seeds and judge what it promises.",
    "plan": "Show what each way of making batches would cost.",
    "prove": "Show that the answers of a recipe or a model do not move.",
    "verify-resume": "Kill a recipe's own run, resume it, show that nothing moved.",
    "recipes": "List, show and check recipes.",
    "tasks": "List the tasks that a recipe may name.",
    "plugins": "List everything that a recipe may name, and who brings it.",
    "doctor": "Look for what is wrong with this installation.",
}
"""Every verb and what `seqkit --help` says of it. The verb is `command` in the module of its name."""


class Verbs(click.Group):
    """A group whose commands are imported when they are called, and whose errors are plain sentences."""

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

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb. What a user did wrong is one line a problem; a traceback is shown for seqkit's own mistakes."""
        try:
            return super().invoke(ctx)
        except SeqkitError as error:
            if ctx.params.get("debug"):
                raise
            _leave(ctx, str(error) + _quoted(str(error)), error.exit_code)
        except KeyboardInterrupt:
            if ctx.params.get("debug"):
                raise
            _leave(ctx, "interrupted", 130)


def _quoted(message: str) -> str:
    """The tracebacks of the plugins whose failure a message tells of: a fault of theirs is none of the user's."""
    registry = sys.modules.get("seqkit.registry.registry")
    said = ""
    for failure in registry.failures() if registry is not None else ():
        if str(failure) in message and not failure.diagnosis.missing:
            lines = failure.diagnosis.trace.rstrip().split("\n")
            said += f"\nwhat {failure.plugin.distribution} said:\n" + "\n".join(f"  {line}" for line in lines)
    return said


def _leave(ctx: click.Context, message: str, code: int) -> NoReturn:
    click.echo(message, err=True)
    ctx.exit(code)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="seqkit")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--no-plugins", is_flag=True, help="Leave every plugin out that is not seqkit's own.")
@click.pass_context
def main(ctx: click.Context, debug: bool, no_plugins: bool) -> None:
    """Train recurrent sequence models whose answers do not depend on padding, batch, chunking or restart.

    \b
    seqkit run charlm              train a recipe that comes with seqkit
    seqkit run my.yaml --set train.epochs=3
    seqkit recipes list            what there is
    """
    if not sys.warnoptions:
        # Python hides deprecations by default; who runs a plugin that uses what is to go should hear of it.
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
