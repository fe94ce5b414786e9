"""The command `fedsurg`: groups load when they are used, errors become one line and an exit code."""

import importlib
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import click

from fedsurg import __version__
from fedsurg.errors import DEBUG, FedsurgError

# Flower must neither report home nor look for updates, in any command.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")

# What is wrong with a picture is said in one line by who reads it.
warnings.filterwarnings("ignore", module=r"PIL\.")

UNEXPECTED = 70  # exit code of a mistake of ours: EX_SOFTWARE of sysexits.h

COMMANDS = {
    "simulate": ("simulations.cli:simulate", "Run a study with many sites on this machine."),
    "compare": ("simulations.compare.cli:compare", "Hold methods against each other, with seeds and intervals."),
    "evaluate": ("simulations.cli:evaluate", "Score the models of a finished run on other cases."),
    "pretrain": ("simulations.pretrain_cli:pretrain", "Train the start of a study on synthetic video, as a file."),
    "study": ("fedsurg.cli.study:study", "Show a study: digest, sharing contract, bytes."),
    "data": ("fedsurg.cli.data:data", "Check a site's data folder."),
    "simulator": ("fedsurg.cli.simulator:simulator", "Render labelled synthetic video."),
    "report": ("fedsurg.cli.report:report", "Write the report of a run."),
    "server": ("server.cli:server", "For the coordinator: make a federation, admit hospitals, run studies with them."),
    "site": ("site_client.cli:site", "For a hospital: join a federation, approve studies, keep the audit log."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that help needs no torch.

    Args:
        table: name -> (`module:command`, help in one line), in the order of the help.
    """

    def __init__(self, *arguments: Any, table: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table, then the commands that were added."""
        return [*self._table, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self._table:
            return super().get_command(ctx, cmd_name)
        module, _, name = self._table[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing anything, and the commands that were added."""
        added = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*((name, text) for name, (_, text) in self._table.items()), *added])


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fedsurg")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def fedsurg(debug: bool) -> None:
    """Hospitals train surgical video models together without sharing a frame."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run a command; on an error print one line and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    if debug:
        os.environ[DEBUG] = "1"
    words = [word for word in words if word != "--debug"]
    try:
        code: Any = fedsurg.main(words, prog_name="fedsurg", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("stopped", 130)
    except click.exceptions.NoArgsIsHelpError as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except click.UsageError as problem:
        where = problem.ctx.command_path if problem.ctx else "fedsurg"
        _fail(f"{problem.format_message().rstrip('.')}; see {where} --help", problem.exit_code)
    except click.ClickException as problem:
        problem.show()
        sys.exit(problem.exit_code)
    except FedsurgError as problem:
        if debug:
            raise
        _fail(str(problem), problem.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except PermissionError as problem:
        if debug:
            raise
        _fail(f"{problem.filename or problem}: may not be read or written by you; check its permissions", 1)
    except Exception as problem:
        if debug:
            raise
        _fail(f"unexpected {type(problem).__name__}: {problem} (run again with --debug and report it)", UNEXPECTED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    line = " ".join(message.split())
    click.echo(f"fedsurg: {line}", err=True)
    sys.exit(code)
