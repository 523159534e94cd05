"""The command line: one verb per process or errand.

Each verb lives in a module of its own that is imported only when the verb is called, so that `osteon --help` and the
listener start without torch. Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 content refused.
"""

from __future__ import annotations

import errno
import importlib
import sys
from pathlib import Path

import click

from node import __version__
from node.errors import ConfigurationError, OsteonError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3

PATH_ERRORS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}
)
"""What is wrong with a path that was given, not with the program."""

COMMANDS = {
    "serve": ("node.cli.processes:serve", "Start everything: listener, embedded Redis, worker, upkeep, dashboard."),
    "listen": ("node.cli.processes:listen", "Receive DICOM (C-STORE) into the spool."),
    "worker": ("node.cli.processes:worker", "Run jobs or deliveries from the queue."),
    "upkeep": ("node.cli.processes:upkeep", "Register, assemble, route, sweep, clean up."),
    "dashboard": ("node.cli.processes:dashboard", "Serve the dashboard, its API, /healthz and /metrics."),
    "run": ("node.cli.run:run", "Run a pipeline on DICOM files, without any network."),
    "route": ("node.cli.route:route", "Ask which rule fires, and why; route series again."),
    "send": ("node.cli.send:send", "C-STORE files or folders to a DICOM node."),
    "job": ("node.cli.job:job", "List, retry, cancel or re-run jobs; resend results."),
    "destination": ("node.cli.destination:destination", "Pause, resume or list the places results go to."),
    "users": ("node.cli.users:users", "Make and manage accounts and API tokens of the dashboard."),
    "doctor": ("node.cli.doctor:doctor", "Check configuration, services, weights and destinations."),
    "phantom": ("node.cli.research:phantom", "Make simulated patients as DICOM, with truth masks."),
    "train": ("node.cli.research:train", "Train a pipeline's networks."),
    "evaluate": ("node.cli.research:evaluate", "Print the paper's table for our weights."),
    "compare": ("node.cli.compare:compare", "Train and compare the networks of a paper."),
    "models": ("node.cli.models:models", "List, verify and install weights."),
    "bench": ("node.cli.bench:bench", "Measure speed, peers beside us in the same run."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="osteon")
def cli() -> None:
    """A DICOM AI node for bone imaging: segments what scanners send and returns SEG and Structured Reports.

    Research use only: the weights that ship are trained on simulated patients.
    """


def config_options(function):
    """`--config DIR` and `--data DIR`, the same on every command."""
    function = click.option(
        "--data", "data_dir", type=click.Path(path_type=Path), help="Data folder (./osteon-data, or OSTEON_DATA)."
    )(function)
    return click.option(
        "--config", "config_dir", type=click.Path(path_type=Path), help="Configuration folder (config/, OSTEON_CONFIG)."
    )(function)


def surroundings_at_fault(error: Exception) -> str | None:
    """A sentence for what is no mistake of the program's: a database, folder, device or weights that are not there."""
    if isinstance(error, OSError) and error.errno in PATH_ERRORS and error.filename is not None:
        return f"{error.filename} cannot be used: {error.strerror}"
    kind = type(error)  # asked by name, so that a command imports only what it uses
    if kind.__module__ == "pipelines.contract.errors" and kind.__name__ in ("WeightsError", "DeviceError"):
        return str(error)
    if kind.__module__.startswith("sqlalchemy.") and kind.__name__ in ("OperationalError", "ArgumentError"):
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        return f"the database cannot be used: {reason}; check registry.url (OSTEON_DATABASE_URL)"
    return None


def main() -> None:
    """Entry point: runs the command and turns osteon's own errors into a sentence and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(f"configuration: {problem}", err=True)
        sys.exit(EXIT_USAGE)
    except OsteonError as error:
        click.echo(f"osteon: {error}", err=True)
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        sentence = surroundings_at_fault(error)
        if sentence is None:
            raise
        click.echo(f"osteon: {sentence}", err=True)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
