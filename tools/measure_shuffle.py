"""How well the canonical order shuffles, beside a perfect shuffle of the same videos.

    python tools/measure_shuffle.py [--videos 10000] [--shard 500] [--batch 128] [--epochs 3]

Nothing is read: a set is shards of random labels, packed shuffled or sorted by category (the worst case). Moved: the
distance of a video's place in the epoch from its place in the packed set, as a share of the set (a perfect shuffle
moves a video by a third on the average). Categories: how many different ones a batch holds. Repeats: the share of
neighbours in the packed set that come into one batch again, in thousandths. Means over epochs and batches.
"""

from __future__ import annotations

import sys

import numpy as np

from jomold_dist.command_line import command, command_parser
from jomold_dist.data.reading.plan import EpochPlan
from jomold_dist.data.reading.shares import steps_per_epoch
from jomold_dist.tables import markdown_table

LAYOUTS = ((48, 1), (48, 8), (48, 32), (48, 128), (12, 32), (192, 32), (1024, 32))  # streams, block
CATEGORIES = 25


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--shard", type=int, default=500, help="videos a shard (default: 500)")
    parser.add_argument("--batch", type=int, default=128, help="videos in an optimizer batch (default: 128)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs to take the mean over (default: 3)")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    shuffled = np.repeat(np.arange(CATEGORIES), -(-arguments.videos // CATEGORIES))[: arguments.videos]
    random.shuffle(shuffled)
    sizes = np.diff([*range(0, arguments.videos, arguments.shard), arguments.videos])
    rows = []
    for packed, category in (("shuffled", shuffled), ("sorted by category", np.sort(shuffled))):
        for streams, block in LAYOUTS:
            orders = [epoch_order(sizes, streams, block, epoch) for epoch in range(arguments.epochs)]
            rows.append([packed, f"{streams}", f"{block}", *measures(orders, category, arguments.batch)])
        perfect = [random.permutation(arguments.videos) for _ in range(arguments.epochs)]
        rows.append([packed, "perfect", "shuffle", *measures(perfect, category, arguments.batch)])
    print(f"{arguments.videos} videos in {len(sizes)} shards, {CATEGORIES} equally frequent categories,")
    print(f"batches of {arguments.batch}, {arguments.epochs} epochs")
    columns = ["packed", "streams", "block", "moved %", "categories a batch", "fewest", "repeats ‰"]
    print(markdown_table(columns, rows))


def epoch_order(sizes: np.ndarray, streams: int, block: int, epoch: int) -> np.ndarray:
    """The number in the packed set of the video at each place of an epoch, int64 (videos,)."""
    plan = EpochPlan(sizes, streams, block, seed=0, epoch=epoch)
    shard, row = plan.locate(np.arange(plan.videos))
    first = np.concatenate([[0], np.cumsum(sizes)])
    return first[shard] + row


def measures(orders: list[np.ndarray], category: np.ndarray, batch: int) -> list[str]:
    """The last four cells of a row."""
    moved = np.mean([moved_share(order) for order in orders])
    held = np.concatenate([categories_per_batch(order, category, batch) for order in orders])
    repeats = np.mean([neighbour_share(order, batch) for order in orders])
    return [f"{100 * moved:.1f}", f"{held.mean():.1f}", f"{held.min()}", f"{1000 * repeats:.1f}"]


def moved_share(order: np.ndarray) -> float:
    """Mean distance of a video's place from its packed place, as a share of all videos."""
    return float(np.abs(order - np.arange(len(order))).mean() / len(order))


def categories_per_batch(order: np.ndarray, category: np.ndarray, batch: int) -> np.ndarray:
    """How many different categories each full batch holds, int64."""
    full = category[order][: len(order) // batch * batch].reshape(-1, batch)
    return np.array([len(np.unique(row)) for row in full])


def neighbour_share(order: np.ndarray, batch: int) -> float:
    """The share of pairs of packed neighbours whose two videos come in one batch."""
    step = np.empty(len(order), dtype=np.int64)
    step[order] = np.arange(len(order)) // batch
    assert step.max() < steps_per_epoch(len(order), batch)
    return float((step[1:] == step[:-1]).mean())


if __name__ == "__main__":
    sys.exit(main())
