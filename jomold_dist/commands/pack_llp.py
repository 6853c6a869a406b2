"""Pack LLP's published features and label files into shards and a manifest.

Reads one .npy a video and a feature (vggish/<id>.npy, res152/<id>.npy, r2plus1d_18/<id>.npy) and the five label files,
validates both, and writes the splits train (shuffled by --seed), val and test (both with dense labels). With
--unlabelled it packs every video of the features folder into the one split "predict", for `jomold predict`.

It is `jomold pack` with --annotations llp=DIR and the three features; that takes other features and labels as well.
"""

from __future__ import annotations

import argparse

from jomold_dist.command_line import command, show
from jomold_dist.commands.pack import plan_packing, unlabelled_set
from jomold_dist.commands.pack_options import add_no_shuffle
from jomold_dist.commands.packing import SEGMENTS, Packing, option_problems, packing_parser, run_packer
from jomold_dist.data.packing.event_tables import Length
from jomold_dist.data.packing.llp_features import llp_sources, swapped_widths
from jomold_dist.data.packing.presets import read_preset
from jomold_dist.errors import raise_together
from jomold_dist.labels import LLP_CATEGORIES
from jomold_dist.places import local_path


@command
def main() -> None:
    show(run_packer(parse_options(), plan))


def parse_options() -> argparse.Namespace:
    parser = packing_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--annotations", type=local_path, metavar="DIR", help="folder of the label files AVVP_*.csv")
    source.add_argument("--unlabelled", action="store_true", help="pack videos without labels, for prediction")
    parser.add_argument(
        "--features", type=local_path, required=True, metavar="DIR", help="folder of the feature folders"
    )
    add_no_shuffle(parser)
    return parser.parse_args()


def plan(options: argparse.Namespace) -> Packing:
    """Validates everything that can be checked before the values of features are read."""
    raise_together(option_problems(options))
    sources = llp_sources(options.features)
    if options.unlabelled:
        labels, telling = unlabelled_set(sources, LLP_CATEGORIES), ("pack-llp", "unlabelled", "none")
    else:
        labels, telling = read_preset("llp", options.annotations, SEGMENTS), ("pack-llp", "llp", "llp")
    packing = plan_packing(options, telling, labels, sources, Length(SEGMENTS, 1.0))
    if warning := swapped_widths({name: spec.shape[1] for name, spec in packing.features.items()}):
        show(f"warning: {warning}")
    return packing
