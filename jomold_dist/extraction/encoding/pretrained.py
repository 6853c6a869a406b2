"""Models and their preprocessing from folders as `transformers` writes them. Nothing of a folder is executed, nothing
is fetched, and no weight is made up: what a folder lacks is an error, where the library would draw it at random."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

from jomold_dist.errors import UserError
from jomold_dist.extraction.encoding.computing import Computing
from jomold_dist.extraction.encoding.model_files import INSTALL, ModelFolder, digest_of, first_line

# What a preprocessor says and does not do.
NOISE = {"processor_class", "image_processor_type", "feature_extractor_type", "return_tensors", "data_format"}


def require_transformers(kind: str) -> None:
    """UserError if the library that knows the model is not installed."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise UserError(f"the encoder {kind} needs the package transformers: {INSTALL}") from None


def load_model(folder: ModelFolder, name: str, what: str, computing: Computing, spared: str = "") -> tuple[Any, bool]:
    """The model of a folder, as a class of transformers of this name, in eval mode; and whether weights are missing
    whose names begin with `spared`, which is the one part that may be. `what` is what the folder should hold. UserError
    if it holds something else, or is damaged."""
    import transformers

    files = folder.weights
    problem = f"{folder.path} cannot be loaded as {what}"
    try:
        with _quietly():
            model, info = getattr(transformers, name).from_pretrained(
                folder.path,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                use_safetensors=files[0].suffix == ".safetensors",
                dtype=computing.torch_dtype,
                attn_implementation="eager",  # one kernel on all devices
                output_loading_info=True,
            )
    except Exception as error:  # whatever a damaged file or a config of another model leads to
        raise UserError(f"{problem}: {first_line(error)}") from None
    missing = {str(key) for key in info["missing_keys"]}
    lacking = sorted(key for key in missing if not (spared and key.startswith(spared)))
    if lacking:
        raise UserError(f"{problem}: its weights lack {_some(lacking)}")
    if info["mismatched_keys"]:
        raise UserError(
            f"{problem}: its weights are of another shape: {_some(sorted(map(str, info['mismatched_keys'])))}"
        )
    return model.eval().to(computing.device), bool(missing)


def require_type(folder: ModelFolder, types: Collection[str], what: str) -> None:
    """UserError if a folder holds a model of another type."""
    if (found := folder.config.get("model_type")) not in types:
        raise UserError(f"{folder.path} holds a model of type '{found}', and not {what} ({', '.join(sorted(types))})")


def model_class(folder: ModelFolder) -> Any:
    """The class of transformers that a folder's model is of, without its heads; None for a type that it does not know.
    Weights are not looked at."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    name = MODEL_MAPPING_NAMES.get(str(folder.config.get("model_type")), "")
    return getattr(transformers, name if isinstance(name, str) else name[0], None)


def load_preprocessor(folder: ModelFolder, name: str, **settings: Any) -> Any:
    """What prepares pictures or sounds for a folder's model, by a class of transformers. UserError."""
    import transformers

    folder.require_preprocessor()
    try:
        with _quietly():
            return getattr(transformers, name).from_pretrained(
                folder.path, local_files_only=True, trust_remote_code=False, **settings
            )
    except Exception as error:
        raise UserError(f"{folder.path}: its preprocessing cannot be read: {first_line(error)}") from None


def describe_preprocessor(preprocessor: Any) -> dict[str, Any]:
    """The values by which it computes, as JSON. What is not set is left out: releases of transformers differ in what
    they list."""
    from PIL.Image import Resampling

    kind = type(preprocessor).__name__.removesuffix("Pil")
    values = {
        key: _plain(value)
        for key, value in sorted(preprocessor.to_dict().items())
        if key not in NOISE and not key.startswith("_") and value is not None and value is not False
    }
    if "resample" in values:
        values["resample"] = Resampling(values["resample"]).name.lower()
    return {"type": kind, **values}


def describe_model(folder: ModelFolder) -> dict[str, Any]:
    """Which model it is: its name, which is for people, and the digests of its weights and config."""
    return {"name": folder.name, "weights": digest_of(folder.weights), "config": folder.config_digest}


@contextmanager
def _quietly() -> Iterator[None]:
    """Inside, transformers shows neither bars nor advice; what matters of it is an error here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _plain(value: Any) -> Any:
    """JSON of a preprocessor's value."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, str | int | float) else str(value)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
