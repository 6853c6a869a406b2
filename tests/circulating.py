"""What people have before they pack: features of several kinds for the videos of LLP, and a small set of another kind
as files, as WebDataset tars, and as tables."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.media_files import write_clip
from tests.published import all_keys
from tests.tiny_models import tiny_clap, tiny_clip

CIRCULATING = {"clip_l14": (10, 768), "clap": (10, 512), "clap_maps": (64, 768), "clip_b16": (80, 512)}
BIRDS = ("Owl, barn", "Robin", "Wren")
SHAPES = {"clap": (5, 8), "clip": (10, 6)}  # rows as they are for five segments; narrow
VIDEOS = {"train": 20, "val": 4}
MORE = ("clip_1000", "clip_1001")


def write_circulating(folder: Path, published: Path) -> None:
    """A folder of each kind, with a file for each video of LLP: those of LLP itself, and those made later."""
    folder.mkdir()
    for path in published.iterdir():
        (folder / path.name).symlink_to(path)
    draw = np.random.default_rng(7)
    for name, shape in CIRCULATING.items():
        (folder / name).mkdir()
        for key in all_keys():
            np.save(folder / name / f"{key}.npy", draw.standard_normal(shape, dtype=np.float32))


def write_birds(folder: Path) -> None:
    """birds/ with files and tables of labels, tars/ and hf/ with the same videos."""
    draw = np.random.default_rng(8)
    splits = {f"clip_{n:04d}": "train" if n < VIDEOS["train"] else "val" for n in range(sum(VIDEOS.values()))}
    labels = {key: sorted({BIRDS[n % 3], BIRDS[n % 2]}) for n, key in enumerate([*splits, *MORE])}
    arrays = {key: {f: draw.standard_normal(s, dtype=np.float32) for f, s in SHAPES.items()} for key in labels}
    for name in ("birds/clap", "birds/clip", "tars", "hf"):
        (folder / name).mkdir(parents=True)
    birds = folder / "birds"
    rows = [f'{key},"{"|".join(labels[key])}",{split}' for key, split in splits.items()]
    val = [key for key, split in splits.items() if split == "val"]
    events = [f'{key},0,4.0,"{name}",{m}' for key in val for name in labels[key] for m in ("audio", "visual")]
    truth = [f'{key},"{labels[key][0]}",both' for key, split in splits.items() if split == "train"]
    tables = {
        "labels": ["key,labels,split", *rows],
        "val": ["key,onset,offset,label,modality", *events],
        "truth": ["key,label,modality", *truth],
        "more": ["key,labels", *(f'{key},"{"|".join(labels[key])}"' for key in MORE)],
    }
    for name, lines in tables.items():
        (birds / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for key, features in arrays.items():
        for name, array in features.items():
            np.save(birds / name / f"{key}.npy", array)
    for split in VIDEOS:
        with tarfile.open(folder / "tars" / f"{split}-000.tar", "w") as tar:
            for key in (key for key in splits if splits[key] == split):
                for ending, name in (("audio.npy", "clap"), ("clip.npy", "clip")):
                    tar.add(birds / name / f"{key}.npy", f"{key}.{ending}")
                _add(tar, f"{key}.json", json.dumps({"labels": labels[key]}).encode())
    columns = {
        "key": [*splits],
        "labels": [labels[key] for key in splits],
        "split": [*splits.values()],
        **{name: [arrays[key][name].tolist() for key in splits] for name in SHAPES},
    }
    pq.write_table(pa.table(columns), folder / "hf" / "part-0.parquet")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_clips(folder: Path) -> None:
    """Three video files with a table of labels, `clips`, and tiny models with random weights, `models`."""
    (folder / "clips").mkdir()
    for number in range(3):
        write_clip(folder / "clips" / f"clip_{number}.mp4", rate=5 + number)
    rows = [f"clip_{number},{('Dog', 'Rain')[number % 2]}" for number in range(3)]
    (folder / "clips" / "labels.csv").write_text("\n".join(["key,labels", *rows]) + "\n")
    tiny_clip(folder / "models" / "clip")
    tiny_clap(folder / "models" / "clap")
