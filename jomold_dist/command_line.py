"""What all commands have in common: their parsers, how they print, and how they end."""

from __future__ import annotations

import argparse
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TextIO

from jomold_dist.errors import FAILURE, PREEMPTED, SUCCESS, USER_ERROR, StoppedError, UserError
from jomold_dist.secrets import blotted
from jomold_dist.shipped import config_path

P = ParamSpec("P")


def command(main: Callable[P, int | None]) -> Callable[P, int]:
    """Makes a function a command, which returns its exit code; None is success.

    It can print on any terminal: what the encoding lacks is escaped. A user's mistake is one message and 2, a stop one
    message and 75, Ctrl-C and what cannot be printed (`| head`, a full disk) a message and 1.
    """

    @functools.wraps(main)
    def run(*words: P.args, **options: P.kwargs) -> int:
        before = sys.stdout
        _print_anything()
        try:
            code = main(*words, **options)
            sys.stdout.flush()
            return code or SUCCESS
        except (UserError, StoppedError) as error:
            say(str(error))
            return exit_code(error)
        except KeyboardInterrupt as error:
            say("interrupted")
            return exit_code(error)
        except PrintError as error:
            _silence(before)
            say(f"what was to be printed is lost: {error.strerror}")
            return FAILURE
        finally:
            sys.stdout = before

    return run


class PrintError(OSError):
    """Something cannot be printed: the reader has gone, the disk behind stdout is full."""


class _Output(io.TextIOBase):
    """stdout, whose errors are told from those of files."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _printing():
            return self._stream.write(text)

    def flush(self) -> None:
        with _printing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        """Nothing: the stream is not this object's own, and Python calls it when the object goes."""

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


@contextmanager
def _printing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PrintError(error.errno, error.strerror or str(error)) from None


def _print_anything() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is not None:
        sys.stdout = _Output(sys.stdout)


def _silence(stream: TextIO) -> None:
    """Python flushes its streams once more at its end, which would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def exit_code(error: BaseException) -> int:
    """What a command that ends with this error exits with."""
    if isinstance(error, StoppedError):
        return PREEMPTED
    return USER_ERROR if isinstance(error, UserError) else FAILURE


def say(message: str) -> None:
    """An error, as commands tell it."""
    sys.stderr.write(f"error: {blotted(message)}\n")
    sys.stderr.flush()


def tell(text: str, on_stderr: bool = False) -> str | None:
    """Print a result, and say why that failed (the reader has gone, the disk is full) instead of raising: it can still
    be written to a file."""
    stream: TextIO | None = sys.stderr if on_stderr else sys.stdout
    if stream is None:
        return "it is closed"
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except OSError as error:
        _silence(stream)
        return error.strerror or str(error)
    return None


class _Parser(argparse.ArgumentParser):
    """Repeats no password of what it refuses."""

    def error(self, message: str) -> NoReturn:
        super().error(blotted(message))


def command_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows the description as it is written."""
    return _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_imports(parser: argparse.ArgumentParser) -> None:
    """The option that imports modules of a user's."""
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="import a module of your own first, for instance one that registers a method",
    )  # fmt: skip


def config_parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of a command that takes a config and settings on top of it.

    To be read with `parse_intermixed_args`: settings may stand on both sides of an option.
    """
    parser = command_parser(description)
    parser.add_argument(
        "--config", type=config_path, required=True, metavar="CONFIG",
        help="a YAML file, or the name of one that comes with jomold_dist: llp, quickstart, sweeps/table2b, …",
    )  # fmt: skip
    add_imports(parser)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings on top of the file")
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)  # the deepspeed launcher passes it; LOCAL_RANK is read
    return parser


def training_parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of `jomold train`, which `jomold start` must understand too."""
    parser = config_parser(description)
    parser.add_argument("--dry-run", action="store_true", help="check everything and print what the run would do")
    parser.add_argument("--until", metavar="STAGE", help="end after this stage, for instance noise_ratios")
    parser.add_argument("--ranks", type=_rank_count, help="ranks of the dry run (default: those that are started)")
    return parser


def _rank_count(text: str) -> int:
    """A number of ranks on the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of ranks; it must be 1 or more")
    return int(text)
