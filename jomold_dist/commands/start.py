"""Start a training under any launcher, so that signals reach its ranks and its own exit code comes back.

    jomold start deepspeed --num_gpus 2 --module jomold_dist train --config llp run.dir=runs/llp
    jomold start torchrun --nproc-per-node 2 -m jomold_dist train --config llp run.dir=runs/llp
    jomold start python -m jomold_dist train --config llp run.dir=runs/llp

In a checkout, launchers/start.py and launchers/train.py do the same: launchers/start.py torchrun … launchers/train.py

SIGTERM or Ctrl-C makes all ranks stop together with a checkpoint; a second Ctrl-C kills them. No process stays behind.
Exit codes: 0 finished, 75 stopped on request, 2 a mistake that the message explains, 1 anything else.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from pathlib import Path

from jomold_dist.command_line import command, say, show, tell
from jomold_dist.config_command import print_config, training_parser
from jomold_dist.config_files import load_config
from jomold_dist.errors import FAILURE, PREEMPTED, SUCCESS, USER_ERROR, UserError
from jomold_dist.methods.registry import checked
from jomold_dist.reading import ABSENT, read_json
from jomold_dist.starting import find_training
from jomold_dist.supervising import EXIT_CODE_FILE, Supervisor


@command
def main() -> int:
    words = sys.argv[1:]
    parser = training_parser(__doc__)
    parser.usage = "%(prog)s LAUNCHER … -m jomold_dist train --config CONFIG [option …] [section.key=value …]"
    if not words:
        show(__doc__.strip())
        return USER_ERROR
    if words[0] in ("-h", "--help"):
        show(parser.explain(words[1:]))
        return SUCCESS
    program = find_program(words[0])
    ranks, asked = find_training(words)
    arguments = parser.parse(asked)
    if arguments.print_config:
        return print_config(arguments)
    config = checked(load_config(arguments.config, arguments.overrides), arguments.imports)
    status = Path(config.run.dir) / "status.json"
    before = written(status)
    with tempfile.TemporaryDirectory() as folder:
        left = Path(folder) / "exit_code"
        tell(f"{words[0]} starts the ranks; they need some seconds before they say anything", on_stderr=True)
        supervisor = Supervisor([program, *words[1:]], ranks, {EXIT_CODE_FILE: str(left)})
        code = supervisor.run()
        if left.exists() and (own := left.read_text(encoding="utf-8")):  # empty where its writer was killed
            return int(own)
    if code - 128 in signal.valid_signals() and not supervisor.asked:
        name = signal.Signals(code - 128).name
        why = "; the system does so when memory runs out" if name == "SIGKILL" else ""
        say(f"{words[0]} was killed by {name}{why}. The same command goes on from the last checkpoint")
    if code not in (SUCCESS, USER_ERROR):  # the launcher's own, or of what ended it
        code = FAILURE
    if written(status) == before:  # training did not begin
        return PREEMPTED if supervisor.asked else code
    ended = recorded_exit_code(status)  # rank 0 is on another machine
    return (code or FAILURE) if ended is None else ended


def find_program(name: str) -> str:
    """The launcher of this Python's environment, or else of PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise UserError(f"no program {name!r} beside {sys.executable} or on PATH; install it, or name another launcher")
    return found


def recorded_exit_code(status: Path) -> int | None:
    """The exit code that a run's status tells; None, and a message if the file is unusable, where it tells none."""
    try:
        found = read_json(status)
        if not isinstance(found, dict):
            raise ValueError("it has another form")
    except (*ABSENT, ValueError, UserError) as error:
        say(f"how the run ended is not to be told from {status}: {error}")
        return None
    code = found.get("exit_code")
    return code if isinstance(code, int) else None


def written(path: Path) -> tuple[int, int] | None:
    """What changes whenever the file is written anew; None where it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
