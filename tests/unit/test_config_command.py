"""The command line of commands that take a config: settings as options, help of settings, the printed config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jomold_dist.commands import ray_train, start, sweep, train
from jomold_dist.config_command import training_parser
from jomold_dist.config_files import load_config, resolve
from jomold_dist.tuning.config import Sweep, load_sweep

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml"))
COMMANDS = {
    "train": (train, ()),
    "start": (start, ("python", "launchers/train.py")),
    "ray_train": (ray_train, ("--nodes", "1", "--ranks-per-node", "1")),
    "sweep": (sweep, ()),
}

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def run(capsys: Capture, command: str, *words: str, code: int = 0) -> str:
    """What a command printed, on stdout where it went well."""
    module, before = COMMANDS[command]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", [f"jomold {command}", *before, *words])
        try:
            found = module.main()
        except SystemExit as end:
            found = end.code
    said = capsys.readouterr()
    assert found == code, said
    assert "Traceback" not in said.err
    return said.out if code == 0 else said.err


# --- settings as options ---------------------------------------------------------------------------------------------


def overrides(*words: str) -> list[str]:
    return training_parser("").parse(["--config", "x", *words]).overrides


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--train.epochs=3"], ["train.epochs=3"]),
        (["--train.epochs", "3", "--dry-run"], ["train.epochs=3"]),
        (["--dry-run", "run.dir=a", "--until", "noise_ratios", "--loss.audio", "-1"], ["run.dir=a", "loss.audio=-1"]),
        (["--method=static", "--recipe", "paper", "--import", "my.module"], ["method=static", "recipe=paper"]),
        (["--imports=[a.b]"], ["imports=[a.b]"]),
        (["--local_rank=0", "--train.epochs", "run.dir=a"], ["train.epochs=run.dir=a"]),
        (["--run.dir=a=b c", "--deepspeed.extra.x.y=1"], ["run.dir=a=b c", "deepspeed.extra.x.y=1"]),
        (["--run.dir="], ["run.dir="]),
        (["a=1", "--", "--train.epochs=3"], ["a=1", "--train.epochs=3"]),
    ],
)
def test_settings_may_be_written_as_options(words: list[str], expected: list[str]) -> None:
    assert overrides(*words) == expected


@given(
    settings=st.lists(
        st.sampled_from(["train.epochs=3", "run.dir=a b", "method=han", "denoise.rule=joint"]), max_size=5
    ),
    forms=st.lists(st.sampled_from(["{}={}", "--{}={}", "--{}|{}"]), min_size=5, max_size=5),
    at=st.integers(0, 5),
)
def test_the_forms_may_be_mixed_and_stand_anywhere(settings: list[str], forms: list[str], at: int) -> None:
    words = [form.format(*text.split("=")).split("|") for text, form in zip(settings, forms, strict=False)]
    words.insert(at, ["--until", "model"])
    found = training_parser("").parse([*(word for group in words for word in group), "--config", "x", "--dry-run"])
    assert (found.overrides, found.until, found.dry_run, str(found.config)) == (settings, "model", True, "x")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--foo", "error: unknown option --foo; jomold train --help tells more\n"),
        ("--dryrun", "unknown option --dryrun (did you mean '--dry-run'?)"),
        ("--metod=han", "unknown option --metod (did you mean '--method'?)"),
        ("--epochs=3", "unknown option --epochs (did you mean '--train.epochs'?)"),
        ("--train.epochs", "--train.epochs needs a value: --train.epochs=…"),
        ("--train.epohcs=3", "unknown setting 'train.epohcs' (did you mean 'train.epochs'?)"),
        ("--train.epochs=0", "train.epochs = 0 must be at least 1"),
        ("train.epochs", "is not of the form section.key=value"),
    ],
)
def test_what_is_no_option_and_no_setting(capsys: Capture, word: str, message: str) -> None:
    assert message in run(capsys, "train", "--config", "configs/llp.yaml", word, "--dry-run", code=2)


def test_a_mistyped_config_is_told_of_before_the_missing_one(capsys: Capture) -> None:
    said = run(capsys, "train", "--confg", "configs/llp.yaml", code=2)
    assert "unknown option --confg (did you mean '--config'?)" in said
    assert "the following arguments are required: --config" in run(capsys, "train", "--dry-run", code=2)


# --- help ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_options_and_sections(command: str, capsys: Capture) -> None:
    text = run(capsys, command, "--help")
    for part in ("--config", "--import", "--print-config", "\n  denoise ", "\n  estimator.loss ", "--help SECTION"):
        assert part in text.replace("[SECTION ...]", "SECTION")
    assert ("\n  sweep " in text) == (command == "sweep")
    assert ("--until" in text) == (command in ("train", "start"))


def test_help_of_sections_and_settings(capsys: Capture) -> None:
    text = run(capsys, "train", "--config", "configs/llp.yaml", "--help", "checkpoint", "run.seed")
    names = [line.partition(":")[0] for line in text.splitlines() if line and not line.startswith(" ")]
    assert names == ["checkpoint", "checkpoint.every_minutes", "checkpoint.every_steps", "checkpoint.keep", "run.seed"]
    assert "usage" not in text
    assert "did you mean 'denoise'" in run(capsys, "train", "--help", "denosie", code=2)


# --- the printed config ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS)
def test_every_config_of_ours_is_printed_and_read_to_the_same(path: str, capsys: Capture, tmp_path: Path) -> None:
    is_sweep = path.startswith("configs/sweeps/")
    text = run(capsys, "sweep" if is_sweep else "train", "--config", path, "--print-config", "--train.epochs", "3")
    printed = tmp_path / "printed.yaml"
    printed.write_text(text, encoding="utf-8")
    load: Any = load_sweep if is_sweep else load_config
    assert load(printed) == load(Path(path), ["train.epochs=3"])


def origins(text: str) -> dict[str, str]:
    """Where each setting comes from, by what was printed."""
    found, above = {}, list[str]()
    for line in text.splitlines()[1:]:
        depth, (key, _, rest) = (len(line) - len(line.lstrip())) // 2, line.strip().partition(":")
        above = [*above[:depth], key]
        if rest:
            found[".".join(above)] = rest.rpartition("  # ")[2]
    return found


def test_each_value_is_told_with_its_origin(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "train:\n  epochs: 2\n  batch_size: 16\ndeepspeed:\n  extra: {dump_state: true}\n"
    )
    (tmp_path / "run.yaml").write_text("base: base.yaml\nrecipe: released\ntrain:\n  epochs: 3\nloss:\n  audio: 2.0\n")
    path = f"{tmp_path}/run.yaml"
    words = ("--config", path, "loss.video=2", "--deepspeed.extra.wall_clock_breakdown=true", "--import", "json")
    text = run(capsys, "train", *words, "--print-config")
    found = origins(text)
    base = f"base {tmp_path}/base.yaml"
    expected = {
        "recipe": f"{path}:2",
        "imports": "--import",
        "train.epochs": f"{path}:4",
        "train.batch_size": f"{base}:3",
        "loss.audio": f"{path}:6",  # equal to the default, and still given
        "loss.video": "override",
        "deepspeed.extra": f"{base}:5, override",
        "loss.visual_smoothing": "recipe released",
        "denoise.mean_batch_size": "recipe released",
        "run.seed": "default",
    }
    assert {name: found[name] for name in expected} == expected
    assert set(found) == set(resolve(Sweep, Path(path)).config.run_config.flat())
    assert yaml.safe_load(text)["denoise"]["mean_batch_size"] == 16
    assert yaml.safe_load(text)["imports"] == ["json"]


@pytest.mark.parametrize("command", ["train", "start", "ray_train"])
def test_nothing_is_started(command: str, capsys: Capture, tmp_path: Path) -> None:
    words = ("--config", "configs/llp.yaml", f"run.dir={tmp_path}/run", "--print-config")
    assert f"dir: {tmp_path}/run" in run(capsys, command, *words)
    assert list(tmp_path.iterdir()) == []


def test_only_rank_0_prints(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert run(capsys, "train", "--config", "configs/llp.yaml", "--print-config") == ""


def test_a_config_that_is_none_is_not_printed(capsys: Capture) -> None:
    words = ("--config", "configs/llp.yaml", "--print-config", "method=jomlod")
    assert "did you mean 'jomold'" in run(capsys, "train", *words, code=2)


def test_secrets_of_rows_are_blotted_out(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "sweep:\n  variants:\n    a: {data.storage: {secret_key: abc1, deep: [1, {token: abc2}]}}\n"
        "    b: {data.shards: 's3://anna:abc3@host/x'}\n"
    )
    text = run(capsys, "sweep", "--config", f"{path}", "--print-config")
    assert "abc" not in text
    assert yaml.safe_load(text)["sweep"]["variants"] == {
        "a": {"data.storage": {"secret_key": "***", "deep": [1, {"token": "***"}]}},
        "b": {"data.shards": "s3://***@host/x"},
    }


def test_modules_of_a_sweep_are_imported_by_its_trials(capsys: Capture) -> None:
    words = ("--config", "configs/sweeps/table2b.yaml", "imports=[json]", "--import", "csv", "--print-config")
    assert yaml.safe_load(run(capsys, "sweep", *words))["imports"] == ["json", "csv"]


# --- one command's config under another ------------------------------------------------------------------------------


def test_a_sweep_is_not_trained_and_a_run_not_swept(capsys: Capture) -> None:
    said = run(capsys, "train", "--config", "configs/sweeps/table2b.yaml", "--dry-run", code=2)
    assert "table2b.yaml:3: the section 'sweep' is for `jomold sweep`" in said
    assert "'sweep' is for `jomold sweep`" in run(
        capsys, "train", "--config", "configs/llp.yaml", "sweep.dir=a", "--dry-run", code=2
    )
    said = run(capsys, "sweep", "--config", "configs/llp.yaml", "--dry-run", code=2)
    assert "configs/llp.yaml is the config of a run" in said
    assert "`jomold train --config configs/llp.yaml`" in said
