"""Time of the mixture itself: from the evidence of a million labels to their posteriors.

    python tools/bench_mixture.py [--labels 1000000] [--categories 25 527] [--rounds 3]

Random evidence of frequent and rare categories, learnt well and hardly, with noise in a tenth of the audio and in a
third of the visual labels. The fastest round counts, in seconds of one core, which other work on the machine hardly
lengthens. Beside it, `fit_presence` on as many videos as hold the labels, 1.6 each, if their logits fit; it also scales
all of them.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from jomold_dist.command_line import command, command_parser
from jomold_dist.denoising.evidence import AbsentCounts, probits
from jomold_dist.denoising.mixture import count_cells, fit_mixture, pattern_probabilities
from jomold_dist.denoising.presence import fit_presence
from jomold_dist.tables import markdown_table

LABELS_PER_VIDEO = 1.6
MOST_LOGITS = 20_000_000  # of a modality, for `fit_presence`
STEPS = ("probits", "cells", "fit", "posteriors")


@command
def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--categories", type=int, nargs="+", default=[25, 527])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [bench(arguments.labels, categories, arguments.rounds) for categories in arguments.categories]
    print(f"{arguments.labels} labels; seconds of one core")
    print(markdown_table(["categories", *STEPS, "all", "fit_presence"], rows))


def bench(labels: int, categories: int, rounds: int) -> list[str]:
    """A row of the table."""
    random = np.random.default_rng(0)
    frequency = 1 / (1 + np.arange(categories))
    category = random.choice(categories, labels, p=frequency / frequency.sum())
    there = np.array([[1, 1], [1, 0], [0, 1]])[random.choice(3, labels, p=[0.6, 0.3, 0.1])].T
    learnt = random.uniform(0.2, 6, (2, categories))[:, category]  # how far present events lie from absent ones
    logit = random.standard_normal((2, labels)) * (1 + there * learnt / 4) + there * learnt - 5
    counts = absents(random, categories)
    best = min(([*run(logit, category, counts)] for _ in range(rounds)), key=sum)
    videos = min(int(labels / LABELS_PER_VIDEO), MOST_LOGITS // categories)
    given = torch.from_numpy(random.random((videos, categories)) < frequency / frequency.sum() * LABELS_PER_VIDEO)
    heard, seen = torch.from_numpy(random.standard_normal((2, videos, categories), dtype=np.float32)) + 4 * given
    start = time.process_time()
    fit_presence(heard, seen, given)
    alone = time.process_time() - start
    seconds = [f"{taken:.2f}" for taken in (*best, sum(best))]
    return [str(categories), *seconds, f"{alone:.2f} ({int(given.sum())} labels of {videos} videos)"]


def run(logit: np.ndarray, category: np.ndarray, counts: np.ndarray) -> tuple[float, ...]:
    """Seconds of each step."""
    times = [time.process_time()]
    audio, visual = (probits(counts, evidence, category) for evidence in logit)
    times.append(time.process_time())
    cells = count_cells(category, audio, visual, len(counts))
    times.append(time.process_time())
    mixture = fit_mixture(cells)
    times.append(time.process_time())
    pattern_probabilities(mixture, category, audio, visual)
    times.append(time.process_time())
    return tuple(np.diff(times).tolist())


def absents(random: np.random.Generator, categories: int) -> np.ndarray:
    """Counts of absents whose logits are N(−5, 1)."""
    counts = AbsentCounts(categories, torch.device("cpu"))
    logit = random.standard_normal((5000, categories)) - 5
    counts.add(torch.from_numpy(logit), torch.zeros(logit.shape, dtype=torch.bool))
    return counts.counts.numpy()


if __name__ == "__main__":
    main()
