"""What a reader of a table must be told before he believes it."""

from __future__ import annotations

from collections.abc import Sequence

from jomold_dist.comparing.paired import FEWEST_SEEDS, NEXT_TO_NOTHING, PairedMean, Results, removes_next_to_nothing
from jomold_dist.errors import ConfigError
from jomold_dist.methods.registry import method_class

HAN = "han"
"""The method that leaves all labels as they are: what every other is compared with."""

CONTROLS = (HAN, "static", "random", "true")
"""The methods with which every other is compared, where they are there."""


def few_seeds(rows: Sequence[Results]) -> str | None:
    """Rows of too few seeds."""
    counts = {row.name: len(row.scores) for row in rows if len(row.scores) < FEWEST_SEEDS}
    if not counts:
        return None
    start = f"Fewer than {FEWEST_SEEDS} seeds carry no claim"
    if len(counts) == len(rows) and len(set(counts.values())) == 1:
        return f"{start}, and every row has {next(iter(counts.values()))}."
    return f"{start}: {', '.join(f'{name} has {count}' for name, count in counts.items())}."


def noise_floor(differences: Sequence[PairedMean | None], baseline: str) -> str | None:
    """How wide the intervals are, and what that means."""
    halves = sorted(found.half for found in differences if found is not None and found.half is not None)
    if not halves:
        return None
    width = f"± {halves[0]:.1f}" + (f" to ± {halves[-1]:.1f}" if len(halves) > 1 else "")
    several = " Of twenty such intervals, one leaves 0 out by chance alone." if len(halves) > 1 else ""
    return (
        f"Noise floor: the 95 % intervals of the differences from {baseline} reach {width}. A difference within its "
        f"own interval is open: these seeds cannot tell it from none.{several}"
    )


def han_in_effect(row: Results, method: str) -> str | None:
    """That a row took out next to nothing, though its method is there to remove labels. It is `han` then only if the
    method does nothing else."""
    try:
        found = method_class(method)
    except ConfigError:  # a class of somebody's that cannot be imported here
        return None
    if not found.removes or not removes_next_to_nothing(row):
        return None
    little = f"took out less than {100 * NEXT_TO_NOTHING:g} % of the labels of every modality"
    if not vars(found).get("han_without_removals", False):
        return f"{row.name} {little}: what it differs by from {HAN} does not come from removing labels."
    return (
        f"{row.name} is {HAN} in effect: it {little}. What it differs by from {HAN} is chance; what another row has "
        f"over it, that row has over {HAN}."
    )
