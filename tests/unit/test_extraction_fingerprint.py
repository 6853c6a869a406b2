"""How features were extracted goes from the manifest to the weights, and what does not go together is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from jomold_dist.data.format.extraction import differences, fingerprint_of
from jomold_dist.data.format.manifest import FeatureSpec, Manifest
from jomold_dist.data.format.manifest_file import parse_manifest
from jomold_dist.data.packing.appending import append_problems, extended
from jomold_dist.data.reading.joined import join_manifests
from jomold_dist.errors import DataError
from jomold_dist.models.han import FeatureSizes, HybridAttentionNetwork
from jomold_dist.models.registry import form_of
from jomold_dist.models.weights import WeightsInfo, read_info, save_model
from tests.unit.test_manifest import make

CLAP = {"decoder": {"av": "18.1.0"}, "encoder": {"kind": "clap", "weights": "ab" * 32, "width": 8}}
OTHER = {"decoder": {"av": "18.1.0"}, "encoder": {"kind": "clap", "weights": "cd" * 32, "width": 8}}


def with_extraction(manifest: Manifest, extraction: dict[str, Any]) -> Manifest:
    audio = dataclasses.replace(manifest.features["audio"], extraction=extraction)
    return dataclasses.replace(manifest, features=manifest.features | {"audio": audio})


def test_a_manifest_keeps_it_and_says_nothing_where_it_is_not_known() -> None:
    plain = make({"train": 2})
    known = with_extraction(plain, CLAP)
    text = "".join(known.lines())
    again = parse_manifest(text.encode(), "m")
    assert again.extraction == {"audio": CLAP}
    assert again.features["audio"].fingerprint == fingerprint_of(CLAP)
    assert again.digest == known.digest != plain.digest
    assert "extraction" not in "".join(plain.lines())
    assert parse_manifest("".join(plain.lines()).encode(), "m").features["audio"].fingerprint == ""
    assert again.features == plain.features  # as pooling, it is told of and not compared


@pytest.mark.parametrize(
    ("extraction", "message"),
    [
        (["clap"], "audio's extraction is .*, not a JSON object"),
        ({"model": "a\x1b[31m"}, "not a text without control characters"),
        ({"model": "x" * (1 << 17)}, "has more than|takes more than"),
        ({"rate": float("nan")}, "no number of JSON"),
    ],
)
def test_a_manifest_that_says_strange_things_of_it_is_refused(extraction: Any, message: str) -> None:
    data = json.loads("".join(make({"train": 1}).lines()))
    del data["digest"]
    data["features"]["audio"]["extraction"] = extraction
    with pytest.raises(DataError, match=message):
        parse_manifest(json.dumps(data).encode(), "m")


def test_what_differs_is_told_by_its_name() -> None:
    assert differences(CLAP, CLAP) == []
    assert differences(CLAP, OTHER) == ["encoder.weights: abababababab here, cdcdcdcdcdcd there"]
    assert differences({"a": {"b": 1}}, {"a": {"c": "x"}}) == [
        "a.b: 1 here, nothing there",
        "a.c: nothing here, x there",
    ]


def test_names_are_for_people() -> None:
    one, other = ({"model": {"name": name, "digests": [{"name": name, "sha256": "ab"}]}} for name in ("hub/x", "x"))
    assert fingerprint_of(one) == fingerprint_of(other)
    assert differences(one, other) == []
    renewed = {"model": other["model"] | {"width": 3}}
    assert differences(one, renewed)[0] == "model.name: hub/x here, x there"
    assert fingerprint_of(one) != fingerprint_of(renewed)


def test_joined_and_added_sets_are_refused_where_both_are_known_and_differ() -> None:
    plain = make({"train": 2})
    one, other = with_extraction(plain, CLAP), with_extraction(plain, OTHER)
    with pytest.raises(DataError, match=r"cannot be joined.*encoder.weights: abababababab in A, cdcdcdcdcdcd in B"):
        join_manifests([one, other], ["A", "B"])
    assert any("encoder.weights" in problem for problem in append_problems(one, other))
    assert join_manifests([one, one], ["A", "B"]).extraction == {"audio": CLAP}
    for pair in ([one, plain], [plain, one]):  # where one is not known, nothing is known of the whole
        assert join_manifests(pair, ["A", "B"]).extraction == {}
        assert append_problems(*pair) == []
        assert extended(*pair).extraction == {}


def test_weights_keep_it(tmp_path: Path) -> None:
    sizes = FeatureSizes(audio=6, frames=8, motion=None)
    network = HybridAttentionNetwork(num_classes=2, feature_sizes=sizes, layers=2, temperature=0.3)
    info = WeightsInfo(("a", "b"), 4, 1.0, sizes, form_of(network), {})
    known = dataclasses.replace(info, extraction={"audio": CLAP})
    for own in (info, known):
        save_model(tmp_path / "m.safetensors", network, own)
        assert read_info(tmp_path / "m.safetensors") == own


def test_specs_side_by_side() -> None:
    spec = FeatureSpec((4, 3), "float16", extraction=CLAP)
    assert spec.beside(spec).extraction == CLAP
    assert spec.beside(FeatureSpec((4, 3), "float16")).extraction == {}
