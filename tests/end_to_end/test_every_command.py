"""Every command, misused in the ways that people misuse all of them alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Places, all_commands, run, scripts, with_output
from conftest import Finished, Tiny
from launchers_help import ENVIRONMENT, ROOT

from tests.published import publish
from tests.run_fixtures import write_sweep

OUTPUTS = ("predict", "verify_shards")  # a file
FOLDERS = ("pack", "pack_llp", "simulate_llp", "tabulate_sweep")


@pytest.fixture(scope="module")
def inputs(tiny: Tiny, finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("inputs")
    publish(folder)
    tags = folder / "tags"
    tags.mkdir()
    (tags / "classes.csv").write_text("index,mid,display_name\n0,vgg_0,wind\n")
    header = "video_id,label,modality,background_music,static_image,voice_over"
    clips = [f"abcdefghij{n}_000010,wind,{'AV' if n % 2 else 'A'},False,False,False" for n in range(9)]
    (tags / "vggsounder.csv").write_text("\n".join([header, *clips]) + "\n")
    sweep_config = folder / "sweep.yaml"
    settings = {
        "base": str(tiny.config),
        "sweep": {"dir": str(folder / "s"), "space": {"denoise.audio_threshold": [0.9, 1.0]}},
    }
    sweep_config.write_text(yaml.safe_dump(settings))
    run_folder = shutil.copytree(finished.folder, folder / "run")
    return Places(
        tiny.shards, folder / "annotations", tags, folder / "features", tiny.config, run_folder,
        write_sweep(folder / "sweep"), sweep_config, folder / "nowhere",
    )  # fmt: skip


@pytest.fixture
def places(inputs: Places, tmp_path: Path) -> Places:
    return replace(inputs, scratch=tmp_path)


def drive(commands: dict[str, list[str]], folder: Path, **environment: str) -> dict[str, dict[str, Any]]:
    """What becomes of commands in a process of this environment."""
    file = folder / "outcomes.json"
    words = [sys.executable, str(Path(__file__).with_name("commands.py")), str(file)]
    done = subprocess.run(words, input=json.dumps(commands), env=ENVIRONMENT | environment, cwd=ROOT,
                          capture_output=True, text=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(file.read_text())
    return found


def test_every_script_is_here(places: Places) -> None:
    assert {words[0] for words in all_commands(places).values()} == scripts()
    files = [*ROOT.glob("jomold_dist/commands/*.py"), *ROOT.glob("tools/*.py")]
    texts = {file.stem: file.read_text(encoding="utf-8") for file in files}
    writing = {name for name, text in texts.items() if re.search(r'add_argument\(\s*"--(out|report)"', text)}
    writers = {"extract", "predict", "show", "labels", "report", "verify", "packing", "tabulate"}
    assert writing == writers | {"bench_checkpoint", "bench_loader", "check_gpu"}


def test_a_terminal_that_knows_ascii_alone(places: Places) -> None:
    """Results with ±, Δ, ü and … are printed all the same, and nothing ends in an error of the encoding."""
    named = Path(shutil.copytree(places.run, places.scratch / "lauf ü"))
    commands = all_commands(replace(places, run=named))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    for name, outcome in drive(commands, places.scratch, **ascii_only).items():
        assert outcome["code"] == 0, (name, outcome)
        assert "Traceback" not in outcome["err"], (name, outcome)


def test_a_rank_without_a_world(places: Places) -> None:
    """RANK is left over: commands of several ranks name it, others do not care; none is half done."""
    of_ranks = {"train", "dry run", "evaluate", "predict", "show", "labels"}
    for name, outcome in drive(all_commands(places), places.scratch, RANK="1").items():
        if name in of_ranks or name == "start":
            assert outcome["code"] == 2, (name, outcome)
            if name in of_ranks:  # start.py's child speaks for itself
                assert outcome["err"].count("error: ") == 1, (name, outcome)
                assert "RANK='1'" in outcome["err"]
        else:
            assert outcome["code"] == 0, (name, outcome)
        assert "Traceback" not in outcome["err"], (name, outcome)
    assert not (places.scratch / "run").exists()
    assert not (places.scratch / "events.csv").exists()


def test_places_below_the_home_folder(places: Places, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A ~ reaches a command where it is quoted, or stands behind an equals sign."""
    home = str(tmp_path_factory.getbasetemp())
    commands = {
        name: [word.replace(f"{home}/", "~/") for word in words] for name, words in all_commands(places).items()
    }
    assert sum("~/" in word for words in commands.values() for word in words) > 20
    for name, outcome in drive(commands, places.scratch, HOME=home).items():
        assert outcome["code"] == 0, (name, outcome)
    assert (places.scratch / "run" / "scores.json").exists()
    assert not (ROOT / "~").exists()


def test_passwords_are_not_repeated(places: Places) -> None:
    """In whatever place an address can stand."""
    commands, uri = all_commands(places), "http://anna:s3cret@127.0.0.1:9/set"
    cases = {
        "train": [*commands["train"], f"data.shards={uri}"],
        "start": [*commands["start"], f"tracking.uri={uri}"],
        "dry run": [*commands["dry run"], f"data.storage.endpoint_url={uri}"],
        "sweep": [*commands["sweep"], f"data.shards={uri}"],
        "ray_train": ["ray_train", "--config", str(places.config), "--nodes", "1", f"tracking.uri={uri}"],
        "evaluate": [*commands["evaluate"], "--shards", uri],
        "predict": [*commands["predict"], "--shards", uri],
        "labels": [*commands["labels"], "--shards", uri],
        "predict's output": with_output(commands["predict"], uri),
        "verify_shards": ["verify_shards", uri],
        "too much": [*commands["tabulate_sweep"], uri],
    }
    for name, outcome in drive(cases, places.scratch).items():
        assert outcome["code"] == 2, (name, outcome)
        assert outcome["err"].count("error: ") == 1, (name, outcome)
        assert "s3cret" not in outcome["out"] + outcome["err"], (name, outcome)
        assert "Traceback" not in outcome["err"], (name, outcome)
    assert not (places.scratch / "run").exists()


def content(name: str, places: Places) -> bytes:
    """What a command writes into a plain file, in the form that streams get of those that go by a file's ending."""
    words = all_commands(places)[name]
    plain = places.scratch / "plain.tsv"
    assert run(words[0], with_output(words, str(plain))[1:])["code"] == 0
    return plain.read_bytes()


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_pipe_is_written_into(name: str, places: Places) -> None:
    wanted, pipe, heard = content(name, places), places.scratch / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()))
    reader.start()
    words = all_commands(places)[name]
    outcome = run(words[0], with_output(words, str(pipe))[1:])
    reader.join(20)
    assert outcome["code"] == 0, outcome
    assert heard == [wanted]
    assert pipe.is_fifo()


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("there", [True, False], ids=["to a file", "dangling"])
def test_a_link_stays_and_its_target_is_written(name: str, there: bool, places: Places) -> None:
    wanted, link, target = content(name, places), places.scratch / "link.tsv", places.scratch / "far" / "target"
    target.parent.mkdir()
    link.symlink_to("far/target")
    if there:
        target.write_text("before")
    words = all_commands(places)[name]
    assert run(words[0], with_output(words, str(link))[1:])["code"] == 0
    assert link.is_symlink()
    assert target.read_bytes() == wanted


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("out", ["/dev/stdout", "null"])
def test_what_is_no_file_is_written_and_nothing_else_is_printed_there(name: str, out: str, places: Places) -> None:
    """Behind /dev/stdout stands a file of the user's, which was begun before."""
    wanted, words = content(name, places), all_commands(places)[name]
    (places.scratch / "null").symlink_to("/dev/null")
    script = next(ROOT.glob(f"*/{words[0]}.py"))
    file = places.scratch / "out.txt"
    file.write_text("begun\n")
    with file.open("a") as stdout:
        done = subprocess.run([sys.executable, str(script), *with_output(words, out)[1:]], stdout=stdout,
                              stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=places.scratch, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    if out == "/dev/stdout":
        assert file.read_bytes() == b"begun\n" + wanted
    assert Path("/dev/stdout").is_symlink()
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["dry run", "verify_shards"])
def test_stdout_without_room(name: str, places: Places) -> None:
    """One line says so, and what is to be written is written all the same."""
    script, *words = all_commands(places)[name]
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, str(next(ROOT.glob(f"*/{script}.py"))), *words], stdout=full,
                              stderr=subprocess.PIPE, env=ENVIRONMENT, text=True)  # fmt: skip
    assert done.returncode in (1, 2)
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert (places.scratch / "report.json").exists() == (name == "verify_shards")


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_behind_a_link(name: str, places: Places) -> None:
    link, target = places.scratch / "link", places.scratch / "disk" / "target"
    target.mkdir(parents=True)
    link.symlink_to("disk/target")
    words = all_commands(places)[name]
    outcome = run(words[0], with_output(words, str(link))[1:])
    assert outcome["code"] == 0, outcome
    assert link.is_symlink()
    assert any(target.iterdir())


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("kind", ["pipe", "null"])
def test_what_can_be_no_folder_is_refused_and_stays(name: str, kind: str, places: Places) -> None:
    out = places.scratch / kind
    if kind == "pipe":
        os.mkfifo(out)
    else:
        out.symlink_to("/dev/null")
    words = all_commands(places)[name]
    outcome = run(words[0], with_output(words, str(out))[1:])
    assert outcome["code"] == 2, outcome
    assert str(outcome["err"]).count("error: ") == 1
    assert "Traceback" not in str(outcome["err"])
    assert out.is_fifo() if kind == "pipe" else out.is_char_device()
    assert [p.name for p in places.scratch.iterdir()] == [kind]
