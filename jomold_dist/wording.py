"""Numbers with the things that they count, as messages say them."""

from __future__ import annotations


def number_of(count: int, unit: str, plural: str = "s") -> str:
    """A count and its unit: `1 shard`, `2,000 shards`."""
    return f"{count:,} {unit}{'' if count == 1 else plural}"
