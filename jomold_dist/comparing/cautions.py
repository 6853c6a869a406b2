"""What a reader of a table must be told before he believes it."""

from __future__ import annotations

from collections.abc import Sequence

from jomold_dist.comparing.paired import FEWEST_SEEDS, NEXT_TO_NOTHING, PairedMean, Results, removes_next_to_nothing
from jomold_dist.errors import ConfigError
from jomold_dist.methods.registry import method_class

HAN = "han"
"""The method that leaves all labels as they are: what every other is compared with."""


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
    """That a row took out next to nothing, though its method is there to remove labels."""
    if not _removes(method) or not removes_next_to_nothing(row):
        return None
    return (
        f"{row.name} is {HAN} in effect: it took out less than {100 * NEXT_TO_NOTHING:g} % of the labels of every "
        f"modality. What it differs by from {HAN} is chance; what another row has over it, that row has over {HAN}."
    )


def _removes(method: str) -> bool:
    """Whether a method ever takes labels out; not if it is a class of somebody's that cannot be imported here."""
    try:
        return method_class(method).removes
    except ConfigError:
        return False
