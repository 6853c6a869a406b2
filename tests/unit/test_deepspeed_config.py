"""DeepSpeed's config made of ours, and what `deepspeed.extra` may hold."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jomold_dist.config import Config, DeepSpeedConfig, TrainConfig
from jomold_dist.config_fields import Tree
from jomold_dist.config_files import load_config
from jomold_dist.distributed.deepspeed_config import OWNED, to_deepspeed
from jomold_dist.errors import ConfigError


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    return str(caught.value)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_what_is_ours_and_what_is_passed_on_are_put_together(stage: int) -> None:
    extra = Tree(zero_optimization={"overlap_comm": False}, comms_logger={"enabled": True})
    config = Config(
        train=TrainConfig(engine="deepspeed", clip_grad_norm=3.0, precision="bf16"),
        deepspeed=DeepSpeedConfig(stage, extra),  # type: ignore[arg-type]
    )
    made = to_deepspeed(config, parameters=1000)
    assert made["zero_optimization"]["stage"] == stage
    assert made["zero_optimization"]["reduce_bucket_size"] == 1000
    assert made["zero_optimization"]["overlap_comm"] is False
    assert made["comms_logger"] == {"enabled": True}
    assert made["gradient_clipping"] == 0.0  # DeepSpeed's default is 1; the engine clips by itself
    assert not {"fp16", "bf16", "optimizer", "scheduler"} & set(made)
    assert config.deepspeed.extra == {"zero_optimization": {"overlap_comm": False}, "comms_logger": {"enabled": True}}


@pytest.mark.parametrize(
    "extra",
    [
        "comms_logger.enabled=true",
        "zero_optimization.overlap_comm=true",
        "zero_optimization.leaf_module.classes=[torch.nn.Linear]",
        "flops_profiler={enabled: true, profile_step: 3}",
        "activation_checkpointing.partition_activations=true",
        "wall_clock_breakdown=true",
        "communication_data_type=fp32",
        "steps_per_print=100",
        "csv_monitor={enabled: true, output_path: runs/deepspeed}",
        "timers.throughput.enabled=false",
        "log_level=info",
    ],
)
def test_what_deepspeed_knows_is_passed_on(extra: str) -> None:
    assert load_config(None, [f"deepspeed.extra.{extra}"]).deepspeed.extra


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("comms_loger.enabled=true", "comms_loger: DeepSpeed has no such setting (did you mean 'comms_logger'?)"),
        ("wall_clock_breakdwn=true", "(did you mean 'wall_clock_breakdown'?)"),
        ("comms_logger.enabeld=true", "comms_logger.enabeld: DeepSpeed has no such setting (did you mean 'enabled'?)"),
        ("zero_optimization.overlap_com=true", "zero_optimization.overlap_com: DeepSpeed has no such setting (did you"),
        ("activation_checkpointing.partition_activation=true", "(did you mean 'partition_activations'?)"),
        ("csv_monitor.enabld=true", "csv_monitor.enabld: DeepSpeed has no such setting (did you mean 'enabled'?)"),
        ("zero_optimization.overlap_comm=7", "zero_optimization.overlap_comm = 7: DeepSpeed says: Input should be"),
        ("zero_optimization=3", "zero_optimization = 3 must be a mapping"),
        ("communication_data_type=fp7", "communication_data_type = 'fp7': DeepSpeed says: Invalid"),
        ("nebula.enabled=true", "DeepSpeed says: Nebula checkpointing has been removed"),
        ("train_batch_size=3", "train_batch_size is not passed on: set train.batch_size"),
        ("gradient_accumulation_steps=2", "set train.micro_batch_size"),
        ("gradient_clipping=1", "set train.clip_grad_norm"),
        ("optimizer={type: Adam}", "set train.optimizer"),
        ("fp16.enabled=true", "set train.precision=float16"),
        ("bf16={enabled: true}", "set train.precision=bf16"),
        ("zero_optimization.stage=2", "zero_optimization.stage is not passed on: set deepspeed.zero_stage"),
        ("zero_optimization={offload_optimizer: {device: cpu}}", "offload_optimizer is not passed on"),
    ],
)
def test_what_is_misspelt_wrong_or_decided_elsewhere_is_refused(extra: str, message: str) -> None:
    found = refusal(f"deepspeed.extra.{extra}")
    assert found.startswith("deepspeed.extra.")
    assert message in found
    assert "\n" not in found


def test_all_problems_are_told_at_once() -> None:
    text = "{zero_optimization: {overlap_com: true, stage: 1}, wall_clock_breakdwn: true, fp16: {}, dump_state: true}"
    assert refusal(f"deepspeed.extra={text}").startswith("4 problems:")


def test_the_settings_that_are_named_instead_exist() -> None:
    settings = Config().flat()
    named = {word.strip(",:;") for reason in OWNED.values() for word in reason.split() if word.startswith("train.")}
    assert {name.split("=")[0] for name in named} <= set(settings)


def test_a_config_without_extra_is_loaded_without_importing_deepspeed() -> None:
    code = (
        "import sys; from jomold_dist.config_files import load_config; "
        "load_config(None, ['train.engine=deepspeed']); assert 'deepspeed' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
