"""`jomold`: finds commands, says what there are, and answers before anything heavy is imported."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jomold_dist
from jomold_dist.__main__ import COMMANDS, main, overview

ROOT = Path(__file__).resolve().parents[2]
WITH_TORCH = {"evaluate", "predict"}
LIGHT = tuple(name for name in COMMANDS if name not in WITH_TORCH)
HEAVY = ("torch", "ray", "mlflow", "deepspeed", "matplotlib")

# In one process, since each start is dear: what is imported after each step, and how long the first one took.
LOOK = """
import contextlib, io, json, sys, time
begun = time.perf_counter()
import jomold_dist
seconds = time.perf_counter() - begun
from jomold_dist.__main__ import main
found = {"import jomold_dist": [name for name in HEAVY if name in sys.modules]}
for words in (["--help"], ["--version"], *([name, "--help"] for name in LIGHT)):
    sys.argv = ["jomold", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main()
    assert out.getvalue(), words
    found[" ".join(words)] = [name for name in HEAVY if name in sys.modules]
print(json.dumps(found))
print(f"import jomold_dist: {seconds:.3f} s; with all of these: {time.perf_counter() - begun:.3f} s", file=sys.stderr)
"""


def test_help_and_version_need_no_torch() -> None:
    code = f"HEAVY, LIGHT = {HEAVY!r}, {LIGHT!r}\n{LOOK}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sys.stderr.write(done.stderr)  # the times, for who looks: pytest -rP
    assert {step: names for step, names in json.loads(done.stdout).items() if names} == {}


def test_every_name_of_the_package_is_there() -> None:
    assert set(jomold_dist.__all__) <= set(dir(jomold_dist))
    for name in jomold_dist.__all__:
        assert getattr(jomold_dist, name).__name__ == name
    assert jomold_dist.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute 'load_netwerk'"):
        _ = jomold_dist.load_netwerk


def test_a_file_is_a_command() -> None:
    files = {path.stem for path in (ROOT / "jomold_dist" / "commands").glob("[a-z]*.py")}
    assert files == {name.replace("-", "_") for name in COMMANDS} | {
        "training",
        "packing",
        "pack_options",
        "judging",
        "showing",
    }
    assert all(name in overview() for name in COMMANDS)


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        ([], 2, "usage: jomold COMMAND"),
        (["trian"], 2, "error: unknown command 'trian' (did you mean 'train'?); jomold --help lists them"),
        (["--local_rank=1", "compare", "none"], 2, "unrecognized arguments: --local_rank=1"),
    ],
)
def test_what_is_no_command(
    words: list[str], code: int, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["jomold", *words])
    try:
        ended = main()
    except SystemExit as error:
        ended = error.code  # type: ignore[assignment]
    assert ended == code
    assert part in capsys.readouterr().err


class Ascii(io.TextIOWrapper):
    """A terminal that knows ASCII alone."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict")


def test_the_overview_is_printed_where_only_ascii_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Ascii()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["jomold", "--help"])
    assert main() == 0
    assert b"usage: jomold COMMAND \\u2026" in out.buffer.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_while_a_command_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.import_module", interrupted)
    monkeypatch.setattr(sys, "argv", ["jomold", "train"])
    assert main() == 1
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_reader_that_has_gone_needs_no_message() -> None:
    """As with `jomold settings | head -1`, whose page is longer than what a pipe holds."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "jomold_dist", "settings"]
    done = subprocess.run(words, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
