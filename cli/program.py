"""What every program here shares: from a command line to an exit code, and the source's revision.

Exit codes: 0 success, 1 failure, 2 a wrong call, 130 after Ctrl-C. Each mistake of the user is one
line on standard error, without a traceback.
"""

import json
import os
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from errno import ENOSPC
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from cli import streams
from cli.text import printable, survive_ascii

FAILED, USAGE, INTERRUPTED = 1, 2, 130
SOURCE = Path(__file__).parent
# What argparse says of arguments without a flag.
NOT_GIVEN = "the following arguments are required: "

# How every program here reads its flags; a class of settings adds its prefix and its name.
FLAGS = SettingsConfigDict(
    cli_kebab_case=True,
    cli_hide_none_type=True,
    cli_avoid_json=True,
    cli_exit_on_error=False,
    cli_enforce_required=False,
)


class UsageError(ValueError):
    """A wrong call that only the command itself can find out; the message says what is wrong."""


class Command(NamedTuple):
    """A command: its settings, what runs with them, and the exit code if that fails.

    `names` is the setting that takes names of files, any number of them and each as it is: with
    commas, quotes and brackets, which are syntax in the list of another setting.
    """

    settings: type[BaseSettings]
    run: Callable[[Any], int | None]
    failure: int = FAILED
    names: str | None = None


class Alias(NamedTuple):
    """A command that another program runs, given the arguments that follow its name."""

    summary: str
    run: Callable[[Sequence[str]], int]


def main(
    commands: Mapping[str, Command | Alias],
    errors: Callable[[], tuple[type[Exception], ...]],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run the command that the first argument names; return the exit code.

    Args:
        commands: by name; the one named "" runs if the first argument names none.
        errors: returns the exceptions whose message is for the user, without a traceback. A
            function, so that --help need not wait for the modules that define them.
        arguments: of the command line; None for those of this process.
    """
    streams.open_closed()
    survive_ascii()
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = commands.get(words.pop(0) if words and words[0] in commands else "")
    try:
        try:
            if command is None:
                return _no_command(commands, words)
            if isinstance(command, Alias):
                return command.run(words)
            return _run(command, words, errors)
        finally:
            sys.stdout.flush()  # at exit it would be too late to say what fails
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        if not streams.has_no_reader():
            raise
        streams.drop_output()
        return FAILED
    except OSError as error:
        if error.errno != ENOSPC:
            raise
        streams.drop_output()
        return fail(f"the output cannot be written: {error.strerror}", FAILED)


def fail(message: str, code: int) -> int:
    """Say what went wrong on standard error, in one line or several; return the exit code."""
    print("error:", "\n".join(map(printable, message.split("\n"))), file=sys.stderr)
    return code


def revision(folder: Path = SOURCE) -> str | None:
    """Return the commit of a source tree; None without git or outside a checkout.

    It ends in `-dirty` if files differ from that commit, or are not in it.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "--no-optional-locks", "status", "--porcelain")
    return f"{commit}-dirty" if commit and changed else commit


def _run(
    command: Command, words: Sequence[str], errors: Callable[[], tuple[type[Exception], ...]]
) -> int:
    words = _kebab(words)
    try:
        settings = CliApp.run(
            command.settings, cli_args=words, cli_settings_source=_source(command)
        )
    except ValidationError as error:
        return fail("\nerror: ".join(_mistakes(error, command, words)), USAGE)
    except SettingsError as error:
        return fail("\nerror: ".join(_not_parsed(error, command, words)), USAGE)
    except Exception as error:
        # A source of settings, such as a recipe, that cannot be read.
        if isinstance(error, errors()):
            return fail(str(error), USAGE)
        raise
    try:
        return command.run(settings) or 0
    except UsageError as error:
        return fail(str(error), USAGE)
    except Exception as error:
        if isinstance(error, errors()):
            return fail(str(error), command.failure)
        raise


def _source(command: Command) -> CliSettingsSource[Any]:
    def parse(parser: ArgumentParser, words: Sequence[str]) -> Namespace:
        found = parser.parse_args(words)
        # Without any, argparse leaves a mark of pydantic's there.
        if command.names and isinstance(names := getattr(found, command.names), list):
            setattr(found, command.names, json.dumps(names))
        return found

    return CliSettingsSource(command.settings, parse_args_method=parse)


def _not_parsed(error: SettingsError, command: Command, words: Sequence[str]) -> list[str]:
    """Return what argparse found out; if only arguments without a flag are missing, all else too.

    It stops at the first mistake, before pydantic looks at any flag.
    """
    # argparse ends its messages with an empty line.
    message = str(error).removeprefix("error parsing CLI: ").removeprefix("Error: ").strip()
    told = [f"{message}; --help lists every flag"]
    if message.startswith(NOT_GIVEN):
        given = message.removeprefix(NOT_GIVEN).split(", ")
        try:
            CliApp.run(command.settings, cli_args=[*words, *given])
        except ValidationError as others:
            told += _mistakes(others, command, words)
    return told


def _kebab(words: Sequence[str]) -> list[str]:
    """Return flags in kebab-case: the upstream's scripts say --data_dir. What follows -- stays."""
    end = words.index("--") if "--" in words else len(words)
    return [*map(_kebab_flag, words[:end]), *words[end:]]


def _kebab_flag(word: str) -> str:
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return f"{flag.replace('_', '-')}{equals}{value}"


def _where_set(settings: type[BaseSettings], words: Sequence[str], field: str) -> str:
    """Return the environment variable that set a field, or else its flag."""
    flag = f"--{field}".replace("_", "-")
    variable = f"{settings.model_config.get('env_prefix', '')}{field}".upper()
    is_flag = any(word.partition("=")[0] == flag for word in words)
    names = () if is_flag else (name for name in os.environ if name.upper() == variable)
    return next(iter(names), flag)


def _mistakes(error: ValidationError, command: Command, words: Sequence[str]) -> list[str]:
    """Return a line for each setting that is wrong; one of several forms fails once for each."""
    messages: dict[str, list[str]] = {}
    for mistake in error.errors():
        # A default that derives from another setting, which is wrong itself.
        if mistake["type"] != "default_factory_not_called":
            loc = mistake["loc"]
            where = f"{_where_set(command.settings, words, str(loc[0]))}: " if loc else ""
            reasons = messages.setdefault(where, [])
            if (reason := _reason(mistake, command.settings)) not in reasons:
                reasons.append(reason)
    return [where + "; or: ".join(reasons) for where, reasons in messages.items()]


def _reason(mistake: ErrorDetails, settings: type[BaseSettings]) -> str:
    """Return what is wrong with a setting; of one that lacks something, what it takes."""
    if mistake["type"] == "missing" and len(mistake["loc"]) <= 2:
        # Behind its name is the place of one of several values.
        wrong = "required" if len(mistake["loc"]) == 1 else "too few values"
        field = settings.model_fields.get(str(mistake["loc"][0]))
        return f"{wrong}: {field.description}" if field and field.description else wrong
    if mistake["type"] == "too_long":
        return "{actual_length} values, where at most {max_length} are taken".format(
            **mistake["ctx"]
        )
    return mistake["msg"].removeprefix("Value error, ")


def _no_command(commands: Mapping[str, Command | Alias], words: Sequence[str]) -> int:
    width = max(map(len, commands))
    lines = [f"  {name:{width}}  {_summary(command)}" for name, command in commands.items()]
    usage = "\n".join(["commands (each has its own --help):", *lines])
    if words[:1] in (["-h"], ["--help"]):
        print(usage)
        return 0
    return fail(f"{f'there is no command {words[0]!r}' if words else 'no command'}\n{usage}", USAGE)


def _summary(command: Command | Alias) -> str:
    if isinstance(command, Alias):
        return command.summary
    return (command.settings.__doc__ or "").partition("\n")[0]


def _git(folder: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603 - fixed commands
        [git, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
