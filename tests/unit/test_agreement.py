"""What ranks compare before they begin."""

from __future__ import annotations

from jomold_dist.config import Config
from jomold_dist.config_roles import decides, may_differ
from jomold_dist.config_values import schema
from jomold_dist.distributed.agreement import _compared, _difference
from jomold_dist.versions import code_digest


def test_every_setting_that_decides_a_result_is_compared() -> None:
    """But for those that rank 0 reads a file by."""
    found = {name for name in schema() if decides(name) and may_differ(name)}
    assert found == {"denoise.cleaned_labels", "denoise.ratio_file"}


def test_settings_options_and_program_are_compared() -> None:
    compared = _compared(Config(), {"until": None})
    assert compared["train.learning_rate"] == 5e-4
    assert compared["train.micro_batch_size"] is None
    assert compared["deepspeed.zero_stage"] == 1
    assert compared["--until"] is None
    assert compared["the code of jomold_dist"] == code_digest()[:16]
    assert {"torch's version", "numpy's version"} <= compared.keys()
    assert not {"run.dir", "data.shards", "data.cache", "tracking.uri"} & compared.keys()


def test_a_difference_is_told_with_rank_setting_and_both_values() -> None:
    main = {"train.epochs": 3, "run.seed": 0, "--until": None}
    others = {"train.epochs": 4, "run.seed": 5, "--until": "train"}
    few = _difference(main, [None, ("node1", {"train.epochs": 4}), None, ("node3", others)])
    assert few.splitlines()[1:] == [
        "  rank 1 (host node1) has train.epochs = 4, rank 0 has 3",
        "  rank 3 (host node3) has --until = 'train', rank 0 has None; run.seed = 5, rank 0 has 0; "
        "train.epochs = 4, rank 0 has 3",
    ]
    many = _difference(
        dict.fromkeys(map(str, range(99)), 0), [None] + [("n", dict.fromkeys(map(str, range(99)), 1))] * 9
    )
    assert len(many.splitlines()) == 6
    assert many.splitlines()[1].endswith("and 91 more")
    assert many.splitlines()[-1] == "  … and 5 more ranks"
