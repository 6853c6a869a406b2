"""Video files that were never packed: their features are made as those of a model's training were, and parsed.

What made those features is told by the model's weights, if they came from `jomold extract`. A file's features are then
pooled as packing would have pooled them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from jomold_dist.data.format.extraction import feature_differences
from jomold_dist.data.format.feature_rows import pool_rows
from jomold_dist.distributed.world import World
from jomold_dist.errors import ConfigError, DataError, UserError, raise_together
from jomold_dist.extraction.encoding.encoder_names import encoder_name, encoder_text
from jomold_dist.extraction.encoding.encoders import parse_encoder
from jomold_dist.extraction.jobs.job import Opening, describe, extract_file
from jomold_dist.extraction.media.sampling import Sampling
from jomold_dist.models.event_network import frames_of
from jomold_dist.models.weights import WeightsInfo
from jomold_dist.showing.timelines.models import RunModel
from jomold_dist.showing.timelines.parsed import ParsedVideo, parsed

if TYPE_CHECKING:
    from jomold_dist.extraction.encoding.encoders import Encoder


@dataclass(frozen=True)
class Extractor:
    """What makes features of files for models: an encoder a feature, and what is sampled of a file."""

    encoders: Mapping[str, Encoder]
    sampling: Sampling


def open_extractor(
    models: Sequence[RunModel], given: Mapping[str, str], world: World, other_features: bool
) -> Extractor:
    """The encoders that made the features of the first model's training, or those that are `given` by feature.

    UserError where none is known or given, and DataError, unless `other_features`, if they are others than made the
    features of any model's training.
    """
    first = models[0]
    names = encoder_names(first, given)
    sampling = sampling_of(first.info)
    dtypes = {str(said.get("encoder", {}).get("dtype", "float32")) for said in first.info.extraction.values()}
    opening = Opening(
        tuple(names.items()), sampling, str(world.device), dtypes.pop() if len(dtypes) == 1 else "float32"
    )
    encoders = opening.open()
    made = {feature: describe(encoder, sampling) for feature, encoder in encoders.items()}
    raise_together([problem for model in models for problem in _misfits(model, encoders)])
    problems = []
    for model in [] if other_features else models:
        names_of_both = ("of the files", "in the model's training")
        if other := feature_differences(made, model.info.extraction, names_of_both):
            problems.append(
                f"features of the files would be made in another way than those that the model of {model.folder.path} "
                f"was trained on: {'; '.join(other)}. Name the same model by --feature, or go on all the same with "
                "--other-features"
            )
    raise_together(problems)
    return Extractor(encoders, sampling)


def encoder_names(model: RunModel, given: Mapping[str, str]) -> dict[str, str]:
    """KIND[+OPTION…]:MODEL of each feature that a model takes. DataError tells of all that cannot be known."""
    names, problems = {}, []
    for feature, size in vars(model.info.feature_sizes).items():
        if size is None:
            continue
        said = _encoder_of(model.info.extraction.get(feature, {}))
        known = encoder_name(said)
        if feature in given:
            names[feature] = given[feature]
        elif known is None:
            problems.append(
                f"nobody knows how the {feature} of its training were made, as those of simulated sets or of other "
                f"programs: train on features of jomold extract; or, if you are sure of what makes them, name it: "
                f"--feature {feature}=KIND:MODEL"
            )
        elif known.model:
            names[feature] = encoder_text(known, known.model)
        else:
            problems.append(
                f"the {feature} of its training were made by {said.get('name') or 'a model'}, which lies in a folder "
                f"of its own on each machine; name it: --feature {feature}={encoder_text(known, 'FOLDER')}"
            )
    raise_together([f"the model of {model.folder.path}: {problem}" for problem in problems])
    return names


def _encoder_of(description: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a feature's description says of its encoder; nothing where it is not known."""
    return dict(description.get("encoder", {}))


def _misfits(model: RunModel, encoders: Mapping[str, Encoder]) -> list[str]:
    """Why a model cannot take what these encoders make."""
    problems = []
    for feature, width in vars(model.info.feature_sizes).items():
        takes = f"the model of {model.folder.path} takes {feature} of {width} values a segment"
        if width is not None and feature not in encoders:
            problems.append(f"{takes}, and nothing here makes {feature}; name what does by --feature")
        elif width is not None and encoders[feature].width != width:
            problems.append(f"{takes}, and those of the files would have {encoders[feature].width}")
    return problems


def given_encoders(words: Sequence[str]) -> dict[str, str]:
    """What --feature NAME=KIND:MODEL options say, by feature. ConfigError."""
    given: dict[str, str] = {}
    for word in words:
        feature, equals, text = word.partition("=")
        if not equals or not text:
            raise ConfigError(f"--feature {word} does not say NAME=KIND:MODEL, as audio=clap:models/clap does")
        if (own := parse_encoder(text).feature) != feature:
            raise ConfigError(f"--feature {word}: {text} makes {own}, not {feature}")
        if feature in given:
            raise ConfigError(f"--feature names what makes {feature} twice")
        given[feature] = text
    return given


def sampling_of(info: WeightsInfo) -> Sampling:
    """What was sampled of the files of a model's training, as far as that is known; else as many segments as the model
    parses. How many frames a segment has is what its `frames` tell: of clips, motion tells their own."""
    said: dict[str, Any] = {"segments": info.segments, "segment_seconds": info.segment_seconds}
    for feature in sorted(info.extraction, key=lambda name: name == "frames"):  # that comes last
        said |= info.extraction[feature].get("sampling", {})
    return Sampling(**{field.name: said[field.name] for field in fields(Sampling) if field.name in said})


def parse_files(
    models: Sequence[RunModel],
    extractor: Extractor,
    keys: Mapping[str, Path],
    threshold: float | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[str, tuple[ParsedVideo, ...], list[str]]]:
    """Each file by its key, as the models parse it, with what of it was made up; what is wrong with a file that cannot
    be used is told instead of a parsing."""
    for key, path in keys.items():
        try:
            made = extract_file(path, extractor.encoders, extractor.sampling)
        except (UserError, OSError) as error:
            yield key, (), [str(error)]
        else:
            videos = tuple(_parse(model, made.features, key, threshold) for model in models)
            yield key, videos, [note.text for note in made.notes]
        progress(1)


def _parse(model: RunModel, made: Mapping[str, Any], key: str, threshold: float | None) -> ParsedVideo:
    """One file's features, parsed by one model."""
    info = model.info
    whole = frames_of(info.form)  # a network that was built for k frames a segment is given them as they are
    rows = {
        name: array if whole is not None and name == "frames" else pool_rows(array, info.segments)
        for name, array in made.items()
    }
    device = next(model.network.parameters()).device
    features = {name: torch.from_numpy(array)[None].to(device) for name, array in rows.items()}
    with torch.inference_mode():
        parsing = model.network.parse(**features)
    (video,) = parsed(model.network, parsing, [key], info.categories, info.segment_seconds, threshold)
    return video


def keys_of(files: Sequence[Path]) -> dict[str, Path]:
    """What files are called: by their names without ending; with the ending where two would be alike. DataError if they
    still are."""
    stems = [path.stem for path in files]
    names = [path.name if stems.count(path.stem) > 1 else path.stem for path in files]
    names = [os.fsencode(name).decode("utf-8", "replace") for name in names]  # a name may be no UTF-8
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"two files are called {twice[0]}; name them in two calls")
    return dict(zip(names, files, strict=True))
