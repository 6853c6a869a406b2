from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jomold_dist.denoising.ranking import ByCategory


@st.composite
def rows(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """Rows in ascending (category, position), some of which do not count and hold nonsense."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, categories = draw(st.integers(0, 60)), draw(st.integers(1, 5))
    category = np.sort(random.integers(0, categories, count))
    valid = random.random(count) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    value = random.choice([-1.5, -0.0, 0.0, 1e-45, 0.25, 7.0, 3e38], count).astype(np.float32)
    return {
        "category": np.where(valid, category, -(2**60)),
        "valid": valid,
        "value": np.where(valid, value, np.float32("nan")),
        "ratio": random.choice([0.0, 0.29, 0.5, 0.57, 1.0], categories),
    }


@settings(max_examples=200)
@given(rows=rows())
def test_ranks_and_shares_equal_their_definition(rows: dict[str, np.ndarray]) -> None:
    category, valid, value, ratio = (torch.from_numpy(rows[k]) for k in ("category", "valid", "value", "ratio"))
    by = ByCategory.of(category, valid, len(ratio))
    rank, share = by.rank(value), by.share(ratio)
    shares = by.at_rows(share)
    for c in range(len(ratio)):
        mine = [i for i in range(len(category)) if valid[i] and category[i] == c]
        ordered = sorted(mine, key=lambda i: (float(value[i]), i))
        assert [int(rank[i]) for i in ordered] == list(range(len(mine)))
        assert int(by.count[c]) == len(mine)
        assert int(share[c]) == int(np.floor(float(ratio[c]) * len(mine)))
        assert all(int(shares[i]) == int(share[c]) for i in mine)
    assert not shares[~valid].any()


def test_nothing_is_read_back_from_the_device() -> None:
    category, valid = torch.zeros(9, dtype=torch.int64, device="meta"), torch.ones(9, dtype=torch.bool, device="meta")
    by = ByCategory.of(category, valid, 3)
    assert by.rank(torch.zeros(9, device="meta")).shape == (9,)
    assert by.at_rows(by.share(torch.zeros(3, device="meta"))).shape == (9,)
