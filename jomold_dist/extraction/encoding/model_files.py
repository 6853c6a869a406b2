"""Where the files of a model lie, a folder or a name of the Hugging Face hub, and the digests that say which it is.

A folder is read and nothing else: nobody asks the network about it. A name is looked for among what has been
downloaded before. Only if it is not there, it is asked for once, within seconds, and downloaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jomold_dist.errors import UserError
from jomold_dist.reading import ABSENT, folder_problem, is_folder, is_there, read_json, reading

CONFIG = "config.json"
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order in which they are preferred
INDEXES = tuple(f"{name}.index.json" for name in WEIGHTS)  # of weights in several files
IRRELEVANT = {"_name_or_path", "_commit_hash", "transformers_version", "architectures", "dtype", "torch_dtype"}
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
ANSWER_SECONDS = 5.0
INSTALL = "pip install 'jomold_dist[extract]'"


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds a model, and what people call the model."""

    path: Path
    name: str

    @property
    def config(self) -> dict[str, Any]:
        """UserError if it is not there or damaged."""
        return _json_object(self.path / CONFIG, f"{self.path} is no folder of a model: it lacks {CONFIG}")

    @property
    def config_digest(self) -> str:
        """SHA-256 of what the config says of the network."""
        deciding = {key: value for key, value in self.config.items() if key not in IRRELEVANT}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()

    @property
    def weights(self) -> tuple[Path, ...]:
        """The files that hold the weights. UserError if there are none."""
        for name, index in zip(WEIGHTS, INDEXES, strict=True):
            if is_there(self.path / name):
                return (self.path / name,)
            if is_there(self.path / index):
                parts = _json_object(self.path / index, "").get("weight_map")
                if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
                    raise UserError(f"{self.path / index} is damaged: it names no files of weights")
                return tuple(self.path / Path(part).name for part in sorted(set(parts.values())))
        raise UserError(f"{self.path} holds no weights: neither {' nor '.join(WEIGHTS)} is there")

    def require_preprocessor(self) -> None:
        """UserError if it does not say how pictures or sounds are prepared."""
        if not any(is_there(self.path / name) for name in PREPROCESSORS):
            raise UserError(
                f"{self.path} does not say how its input is prepared: it lacks {PREPROCESSORS[0]}; copy that file from "
                "where the model comes from"
            )


def find_model(model: str) -> ModelFolder:
    """The folder of a model that is named by its path or by its name in the hub. UserError, in seconds."""
    path = Path(model).expanduser()
    if is_folder(path):
        return ModelFolder(path, path.resolve().name)
    if is_there(path):
        raise UserError(f"{path} is a file; name the folder that holds the model's {CONFIG} and weights")
    if not HUB_NAME.fullmatch(model):
        raise UserError(f"the model's folder {path} {folder_problem(path)}")
    return ModelFolder(_from_hub(model), model)


def _from_hub(name: str) -> Path:
    """The folder of a model of the hub, downloaded if it is not there yet. UserError."""
    try:
        import huggingface_hub
        from huggingface_hub import constants
    except ImportError:
        raise UserError(f"the model {name} is of the Hugging Face hub, which needs transformers: {INSTALL}") from None
    if (downloaded := _downloaded(name)) is not None:
        return downloaded
    absent = f"there is no folder {name} here, and no model {name} that was downloaded before"
    how = f"download it where there is a network (`hf download {name}`), copy its folder here, and name the folder"
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{absent}, and HF_HUB_OFFLINE forbids to download it; {how}")
    try:
        info = huggingface_hub.HfApi().model_info(name, timeout=ANSWER_SECONDS)
        there = {file.rfilename for file in info.siblings or ()}
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=sorted(_needed(there))))
    except (huggingface_hub.errors.RepositoryNotFoundError, huggingface_hub.errors.HFValidationError):
        raise UserError(f"there is neither a folder {name} here nor a model of this name in the hub") from None
    except Exception as error:
        answer = f"{error}".partition("\n")[0] or type(error).__name__
        raise UserError(f"{absent}, and the hub does not give it ({answer}); {how}") from None


def _downloaded(name: str) -> Path | None:
    """The folder of a model of the hub that was downloaded before, with all that is needed of it. Asks nobody."""
    import huggingface_hub

    try:
        config = huggingface_hub.try_to_load_from_cache(name, CONFIG)
        if not isinstance(config, str):
            return None
        folder = ModelFolder(Path(config).parent, name)
        folder.require_preprocessor()
        return folder.path if all(is_there(path) for path in folder.weights) else None
    except (UserError, huggingface_hub.errors.HFValidationError):
        return None  # not a name of the hub, or downloaded in part


def _needed(there: Iterable[str]) -> set[str]:
    """Which files of a model in the hub are downloaded: many hold the same weights for several libraries."""
    files = set(there)
    shards = {name: {file for file in files if _is_part(file, name)} for name in WEIGHTS}
    weights = next((found for found in shards.values() if found), set())
    return weights | files & {CONFIG, *PREPROCESSORS}


def _is_part(file: str, weights: str) -> bool:
    stem, _, ending = weights.rpartition(".")
    return file in (weights, f"{weights}.index.json") or bool(re.fullmatch(rf"{stem}-\d+-of-\d+\.{ending}", file))


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 of a file, as `sha256sum` prints it; of several files, that of their digests in this order. UserError."""
    digests = [_digest(path, *_state(path)) for path in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _state(path: Path) -> tuple[int, int]:
    try:
        with reading(path):
            state = path.stat()
    except ABSENT:
        raise UserError(f"the weights {path} are not there") from None
    return state.st_size, state.st_mtime_ns


@cache
def _digest(path: Path, size: int, mtime: int) -> str:
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json_object(path: Path, absent: str) -> dict[str, Any]:
    try:
        content = read_json(path)
    except ABSENT:
        raise UserError(absent) from None
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no object")
    return content


def first_line(error: Exception) -> str:
    """What an error of a library says, in one line and not at length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"
