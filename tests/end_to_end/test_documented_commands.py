"""Every command of README and docs runs, in the order in which a stranger types them, in a folder of its own.

A training runs as a dry run, with the ranks that its launcher would start, or, where later commands want its folder,
for an epoch; a sweep as a dry run. What cannot run here is named below, with the reason and the test that runs what it
comes to.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import pytest
from documented import Block, Shell, Shown, blocks, spans
from documented_calls import arguments, call_of, output
from launchers_help import ROOT

from jomold_dist.__main__ import COMMANDS
from jomold_dist.config_files import load_config
from tests.circulating import write_birds, write_circulating, write_clips
from tests.published import LLP_WIDTHS, publish
from tests.run_fixtures import finished_run, write_sweep
from tests.unit.test_simulate_annotations import write_lfav, write_vggsounder

ELSEWHERE = ("/shared/", "/local/")  # places of the docs that no test may write to
TRAINED = ("runs/llp-jomold", "runs/llp-static")
PLACEHOLDERS = {
    "FILE": "llp",
    "RUN": TRAINED[0],
    "SECTION": "denoise",
    "DIR": "LLP/feats",
    "PLACE": "data/llp",
    "SWEEP_DIR": "runs/sweeps/table2a",
    "SET": "data/llp",
    "KEY": "train-00000",
}


@dataclass(frozen=True)
class NotRun:
    """Commands that this test does not run, by a pattern of their words."""

    pattern: str
    why: str
    tests: tuple[str, ...] = ()
    """Tests that run what it comes to, as `file::function` below tests/."""


QUICKSTART = "unit/test_quickstart.py::test_every_training_of_it_has_a_config_of_its_own"
REMOTE = "end_to_end/test_remote_shards.py::test_training_from_a_url_is_training_from_the_folder"
COUNT = "unit/test_count_labels.py::test_the_tool_writes_the_table_of_a_folder"
EXTRACT = "end_to_end/test_extract.py::test_the_same_bytes_from_one_process_from_two_from_ray_and_after_kills"
LABELS = "end_to_end/test_labels.py::test_from_a_run_to_cleaned_labels_to_a_network"
JUDGE = "unit/test_judge_labels.py::test_precision_recall_and_brier_score"
SHOWN = "end_to_end/test_show.py::test_clips_come_to_timelines_as_packed_videos_do"
SERVED = "unit/test_served_model.py::test_events_are_those_that_predicting_writes"
NOT_RUN = (
    NotRun("make run|jomold quickstart", "minutes of training", (QUICKSTART,)),
    NotRun("make ", "it runs the tests, or builds what they run in"),
    NotRun("pip install ", "needs a package index"),
    NotRun("mlflow ui |mlflow models serve |curl ", "a server that does not end, and what asks it", (SERVED,)),
    NotRun(".*=(s3|https)://|.* (s3|gs)://", "storage on the internet", (REMOTE,)),
    NotRun("python tools/count_labels.py", "wants label files that show every category", (COUNT,)),
    NotRun("python tools/judge_labels.py", "wants a run of the mixture", (JUDGE,)),
    NotRun("jomold extract --ray", "starts Ray", (EXTRACT,)),
    NotRun(r"jomold show .*\.mp4", "wants a run on features that were extracted", (SHOWN,)),
    NotRun("jomold labels runs/llp-mixture|jomold labels runs/quickstart", "wants a run of the mixture", (LABELS,)),
    NotRun("jomold train .*method=cleaned", "wants what is cleaned by such a run", (LABELS,)),
    NotRun("tools/check_gpu.sh", "minutes", ("end_to_end/test_check_gpu.py::test_every_part_runs",)),
)
CLUSTERS, RAY = "end_to_end/test_clusters.py", "end_to_end/test_ray_job.py"
RANKS = "end_to_end/test_train.py::test_two_ranks_and_micro_batches_give_the_same_run"
LAUNCHERS = {
    "torchrun": RANKS,
    "deepspeed": RANKS,
    "start": "end_to_end/test_preemption.py::test_sigterm",
    "launchers/templates/torchrun.sh": f"{CLUSTERS}::test_two_nodes_stop_together_and_go_on",
    "launchers/templates/deepspeed.sh": f"{CLUSTERS}::test_two_nodes_stop_together_and_go_on",
    "sbatch": f"{CLUSTERS}::test_slurm_requeues_a_preempted_run",
    "ray": f"{RAY}::test_a_submitted_job_needs_a_folder_that_lasts",
    "ray-train": f"{RAY}::test_a_ray_job_on_two_nodes",
}
"""What starts several ranks is tried by these; here its ranks' own command runs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of the docs has: label files and features, and the runs and sweeps of other days."""
    made = tmp_path_factory.mktemp("reader")
    published = publish(tmp_path_factory.mktemp("published"), LLP_WIDTHS)
    for name in ("LLP", "NEW", "LFAV", "VGGSounder", "jomold_dist/simulation", "runs/sweeps"):
        (made / name).mkdir(parents=True)
    (made / "LLP" / "data").symlink_to(published / "annotations")
    for name in ("LLP", "NEW"):
        (made / name / "feats").symlink_to(published / "features")
    write_birds(made)
    write_clips(made)
    write_circulating(made / "features", published / "features")
    (made / "shared").mkdir()
    (made / "shared" / "data").symlink_to(made / "data")
    write_lfav(made / "LFAV" / "labels")
    write_vggsounder(made / "VGGSounder" / "labels")
    for world in ("llp", "calibrated"):
        for method in ("han", "jomold", "true"):
            config = load_config(ROOT / "configs" / "base.yaml", [f"method={method}", f"run.dir={made}/runs/{world}"])
            finished_run(made / "runs" / "worlds" / world / f"{method}-9", config)
    sweep = write_sweep(made / "runs" / "sweeps" / "table2a")
    shutil.copytree(sweep, sweep.with_name("table1"))
    for name, row in (("table1", "han-original"), ("table2a", "ratio 0.5")):  # rows of theirs that the docs name
        cells = sweep.with_name(name) / "cells.json"
        cells.write_text(re.sub('"(name|row)": "static"', rf'"\1": "{row}"', cells.read_text()))
    return made


@pytest.fixture(scope="module")
def shell(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(folder, tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def shown(folder: Path, shell: Shell) -> list[Block | Shown]:
    """Programs and commands of all fenced blocks as they come, then the commands within the text."""
    everything: list[Block | Shown] = []
    for block in blocks(ROOT):
        assert block.language in ("sh", "python", "yaml", "json", "text"), block
        if block.language == "python":
            everything.append(block)
        elif block.language == "sh":
            everything += shell.commands(replace(block, text=within(block.text, folder)))
    everything += [span for span in spans(ROOT) if call_of(span.words)]
    return everything


def within(text: str, folder: Path) -> str:
    """The text with places within the folder for those that are nowhere."""
    return re.sub(rf"(?<![\w.])(?={'|'.join(ELSEWHERE)})", str(folder), text)


@pytest.mark.usefixtures("store")
def test_what_is_shown_runs(folder: Path, shown: list[Block | Shown], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    problems, typed, names = [], set(), defaultdict[str, dict[str, object]](dict)
    for what in shown:
        if isinstance(what, Block):
            problems += program_problems(what, names[what.file])
        elif (line := shlex.join(what.words)) and not any(re.match(no.pattern, line) for no in NOT_RUN):
            if (alike := re.sub(r"run\.seed=\d+|-\d\b", "", line)) in typed:  # a loop over seeds
                continue
            typed.add(alike)
            problems += [f"{what.place}: {line}\n{problem}" for problem in command_problems(what.words)]
    assert not problems, "\n\n".join(problems)


@pytest.fixture
def store() -> Iterator[None]:
    """Where MLflow records is MLflow's own global variable, which programs of the docs set."""
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


def program_problems(block: Block, names: dict[str, object]) -> list[str]:
    """A block of Python runs from its first line to its last, with the names of its page's earlier blocks; one that
    begins with a file's name is that file."""
    if name := re.match(r"# (\w+\.py)\n", block.text):
        Path(name[1]).write_text(block.text, encoding="utf-8")
        return []
    try:
        exec(compile(block.text, f"{block.file}:{block.line}", "exec"), names)
    except Exception as error:
        return [f"{block.file}:{block.line}: {type(error).__name__}: {error}"]
    return []


def command_problems(words: tuple[str, ...]) -> list[str]:
    """What is wrong with a command that is shown."""
    if (call := call_of(words)) is None:
        return ["nobody knows how to run this; if it cannot be, name it in NOT_RUN"]
    if "…" in words or not (call.words or call.command.startswith("-")):  # a command is named
        return [] if call.page or call.command in COMMANDS else [f"there is no command {call.command}"]
    small = arguments(call, [PLACEHOLDERS.get(word, word) for word in call.words], TRAINED)
    out = output(small)
    if out and out.is_dir() and not {"--repair", "--append"} & set(small):
        shutil.rmtree(out)  # another command has written it, with other options
    outcome = call.outcome(*small)
    if outcome["code"] != 0 or "Traceback" in f"{outcome['err']}":
        return [f"  run as {shlex.join(small)}, it ended with {outcome['code']}: {outcome['err']}"]
    return [] if out is None or out.exists() else [f"  there is no {out}"]


def test_what_is_not_run_is_shown_and_tried_elsewhere(shown: list[Block | Shown]) -> None:
    lines = [shlex.join(what.words) for what in shown if isinstance(what, Shown)]
    for no in NOT_RUN:
        assert any(re.match(no.pattern, line) for line in lines), f"{no.pattern} is nowhere in the docs"
    for name in [name for no in NOT_RUN for name in no.tests] + list(LAUNCHERS.values()):
        file, _, function = name.partition("::")
        assert f"def {function}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), name


def test_what_starts_ranks_is_tried_elsewhere(shown: list[Block | Shown]) -> None:
    """The programs of the docs that are neither commands of this project nor named above are known launchers."""
    starts = {what.words[0] for what in shown if isinstance(what, Shown) and call_of(what.words)}
    starts |= {what.words[1] for what in shown if isinstance(what, Shown) and what.words[1] in ("start", "ray-train")}
    assert starts - {"jomold", "python"} <= set(LAUNCHERS)


def test_make_knows_what_is_shown(shown: list[Block | Shown]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {what.words[1] for what in shown if isinstance(what, Shown) and what.words[0] == "make"} <= targets
