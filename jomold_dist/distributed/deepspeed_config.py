"""Our config as DeepSpeed's, and the check of what `deepspeed.extra` passes on.

DeepSpeed ignores top-level keys that it does not know. Which keys it knows is learnt from DeepSpeed itself: its config
class reads a dictionary that notes every key it is asked for, and whatever nobody asked for is unknown.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from jomold_dist.config import Config
from jomold_dist.errors import nearest

NO_OFFLOAD = "the engine keeps all of this small network's state on the device"
ONE_NETWORK = "the trainer divides the videos among the ranks, and nothing else"

# Keys of DeepSpeed's that something else decides, and what.
OWNED = {
    "train_batch_size": "set train.batch_size",
    "train_micro_batch_size_per_gpu": "set train.micro_batch_size",
    "gradient_accumulation_steps": "set train.micro_batch_size, from which it follows",
    "managed_gradient_accumulation": "set train.micro_batch_size, from which accumulation follows",
    "gradient_clipping": "set train.clip_grad_norm",
    "gradient_allreduce_op": "the engine owns the factor between the ranks' sum and mean",
    "optimizer": "set train.optimizer, train.learning_rate and train.weight_decay",
    "zero_allow_untested_optimizer": "set train.optimizer",
    "zero_force_ds_cpu_optimizer": "set train.optimizer",
    "scheduler": "set train.lr_decay and train.lr_decay_epochs",
    "fp16": "set train.precision=float16",
    "bf16": "set train.precision=bf16",
    "torch_autocast": "set train.precision",
    "data_types": "set train.precision",
    "checkpoint": "checkpoints are the trainer's own: set checkpoint.*",
    "zero_optimization.stage": "set deepspeed.zero_stage",
    "zero_optimization.compute_grad_norm": "the engine computes the norm: set train.clip_grad_norm",
    "zero_optimization.offload_optimizer": NO_OFFLOAD,
    "zero_optimization.offload_param": NO_OFFLOAD,
    "zero_optimization.cpu_offload": NO_OFFLOAD,
    "zero_optimization.cpu_offload_params": NO_OFFLOAD,
    "zero_optimization.cpu_offload_use_pin_memory": NO_OFFLOAD,
    "zero_optimization.zenflow": NO_OFFLOAD,
    "autotuning": ONE_NETWORK,
    "compile": ONE_NETWORK,
    "data_efficiency": ONE_NETWORK,
    "data_parallel_size": ONE_NETWORK,
    "expert_parallel": ONE_NETWORK,
    "hybrid_engine": ONE_NETWORK,
    "pipeline": ONE_NETWORK,
    "sequence_parallel_size": ONE_NETWORK,
    "tensor_parallel": ONE_NETWORK,
    "weight_quantization": ONE_NETWORK,
}


def to_deepspeed(config: Config, parameters: int) -> dict[str, Any]:
    """DeepSpeed's config for a network of so many trained parameters.

    Batch sizes are 1 because the engine feeds DeepSpeed by hand: it scales the losses and says where a batch ends.
    There is no precision block because the network casts by itself, in every engine alike: DeepSpeed sees float32.
    There is no clipping because the norm must be known before the step.
    """
    stage = config.deepspeed.zero_stage
    ours: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.0,  # its default clips at 1
        "zero_allow_untested_optimizer": True,  # SGD
        "zero_optimization": {
            "stage": stage,
            # one message with all gradients; the default is a buffer of 2 GB, made anew for every step
            "reduce_bucket_size": max(parameters, 1),
        },
    }
    if stage in (1, 2):
        ours["zero_optimization"]["compute_grad_norm"] = False
    if stage == 3:  # else every linear layer of the process becomes another one, which rounds twice
        ours["zero_optimization"]["memory_efficient_linear"] = False
    return _merged(ours, config.deepspeed.extra)


def problems_of_extra(config: Config) -> list[str]:
    """What is wrong with `deepspeed.extra`, a line each. Imports DeepSpeed."""
    rest, problems = _without_owned(config.deepspeed.extra)
    for name, value in rest.items():
        if name == "zero_optimization" and not isinstance(value, dict):
            problems.append(f"deepspeed.extra.{name} = {value!r} must be a mapping")
        else:
            problems += [f"deepspeed.extra.{problem}" for problem in _problems_of(name, value)]
    return problems


def _without_owned(tree: dict[str, Any], prefix: str = "") -> tuple[dict[str, Any], list[str]]:
    """The mapping without the keys that something else decides, and a problem for each of those."""
    rest, problems = {}, []
    for key, value in tree.items():
        path = prefix + key
        if path in OWNED:
            problems.append(f"deepspeed.extra.{path} is not passed on: {OWNED[path]}")
        elif isinstance(value, dict):
            rest[key], below = _without_owned(value, f"{path}.")
            problems += below
        else:
            rest[key] = value
    return rest, problems


def _problems_of(name: str, value: Any) -> list[str]:
    """What DeepSpeed says of one key of its config and everything below it."""
    with quiet_import():
        from deepspeed.runtime.config import DeepSpeedConfig, DeepSpeedConfigError
        from deepspeed.runtime.config_utils import DeepSpeedConfigModel
    from pydantic import ValidationError

    read = _Read(_merged({"train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1}, {name: value}))
    try:
        DeepSpeedConfig(read)
    except ValidationError as error:
        model = next((m for m in _below(DeepSpeedConfigModel) if m.__name__ == error.title), None)
        return [_say(name, one, model) for one in error.errors()]
    except (DeepSpeedConfigError, AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"{name} = {value!r}: DeepSpeed says: {' '.join(str(error).split())}"]
    return [f"{path}: DeepSpeed has no such setting{nearest(key, known)}" for path, key, known in read.unknown()]


def _say(section: str, error: Any, model: Any) -> str:
    """One of pydantic's errors. `model` is the section's, whose fields are the known settings."""
    *above, last = [str(part) for part in error["loc"]] or [section]
    path = ".".join([section, *(part for part in (*above, last) if part != section)])
    for part in above:
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else None
    if error["type"] == "extra_forbidden":
        return f"{path}: DeepSpeed has no such setting{nearest(last, getattr(model, 'model_fields', {}))}"
    return f"{path} = {error['input']!r}: DeepSpeed says: {error['msg']}"


class _Read(dict[str, Any]):
    """A dictionary that notes the keys it was asked for, also in the dictionaries inside it."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__({k: _Read(v) if isinstance(v, dict) else v for k, v in values.items()})
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:  # so that `f(**section)` asks for each key, and leaves the check to f
        return super().__iter__()

    def __copy__(self) -> _Read:
        return self

    def items(self) -> Any:
        self.asked.update(self)
        return super().items()

    def unknown(self, prefix: str = "") -> Iterator[tuple[str, str, list[str]]]:
        """Dotted name and name of each key that nobody asked for, and what was asked for in its place. A dictionary
        that was never asked anything went as a whole to pydantic, which refuses unknown keys by itself."""
        for key, value in super().items():
            if key not in self.asked:
                yield prefix + key, key, sorted(self.asked)
            elif isinstance(value, _Read) and value.asked:
                yield from value.unknown(f"{prefix}{key}.")


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Around the first import of DeepSpeed, which would tell which accelerator it found and warn of what it lacks."""
    told = "DS_ACCELERATOR" in os.environ
    if not told:
        import torch

        os.environ["DS_ACCELERATOR"] = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        yield
    finally:
        if not told:
            del os.environ["DS_ACCELERATOR"]
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _below(model: Any) -> Iterator[Any]:
    for sub in model.__subclasses__():
        yield sub
        yield from _below(sub)
