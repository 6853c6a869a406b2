"""What all commands have in common: their parsers, how they print, and how they end."""

from __future__ import annotations

import argparse
import errno
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, ParamSpec, TextIO

from jomold_dist.errors import FAILURE, SUCCESS, USER_ERROR, StoppedError, UserError, exit_code
from jomold_dist.secrets import blotted

P = ParamSpec("P")


def command(main: Callable[P, int | None]) -> Callable[P, int]:
    """Makes a function a command, which returns its exit code; None is success.

    It can print on any terminal: what the encoding lacks is escaped. A user's mistake is one message and 2, a stop one
    message and 75, Ctrl-C and what cannot be printed (a full disk) a message and 1; a reader that has gone (`| head`)
    needs no message.
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
            if error.errno != errno.EPIPE:
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
        return not self._stream.closed and self._stream.isatty()  # libraries ask at the very end of the process

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


def say(message: str) -> None:
    """An error, as commands tell it."""
    sys.stderr.write(f"error: {blotted(message)}\n")
    sys.stderr.flush()


def show(text: str) -> None:
    """Print a result. Where that cannot be, PrintError, of which `command` tells."""
    if sys.stdout is not None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


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


class Parser(argparse.ArgumentParser):
    """Refuses with one message, which repeats no password."""

    def error(self, message: str) -> NoReturn:
        say(f"{message}; {self.prog} --help tells more")
        sys.exit(USER_ERROR)


def command_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help shows the description as it is written."""
    return Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_imports(parser: argparse.ArgumentParser) -> None:
    """The option that imports modules of a user's."""
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="MODULE",
        help="import a module of your own first, for instance one that registers a method",
    )  # fmt: skip


def add_other_features(parser: argparse.ArgumentParser) -> None:
    """The option by which a model takes features that were extracted in another way than those of its training."""
    parser.add_argument(
        "--other-features", action="store_true",
        help="take features that were extracted from videos in another way than those that the model was trained on",
    )  # fmt: skip


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """The option by which others than a network's own thresholds decide what counts."""
    parser.add_argument(
        "--threshold", type=share("is no probability; it must be above 0 and at most 1"),
        help="from which probability on (default: the network's own)",
    )  # fmt: skip


def share(wrong: str, least: float = 0.0) -> Callable[[str], float]:
    """Reads a share from an option: above 0, at least `least` and at most 1. `wrong` says of another text what it is
    not."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (0 < value <= 1 and value >= least):
            raise argparse.ArgumentTypeError(f"{text!r} {wrong}")
        return value

    return read
