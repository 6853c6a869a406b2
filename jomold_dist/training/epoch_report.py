"""What the log says of an epoch: while it goes on, and at its end."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from jomold_dist.distributed.memory import memory_gigabytes
from jomold_dist.training.listeners import StepDone, StepListener
from jomold_dist.training.progress import Progress
from jomold_dist.training.selection import LOSS, Selection
from jomold_dist.training.step_sums import StepSums

REMOVED = "denoise/removed_"  # of the metrics' names
WORTH_TELLING = 0.02  # of an epoch's time


class Pace(StepListener):
    """How an epoch goes, for the lines and the bar of it: another thread may ask."""

    def __init__(self, sums: StepSums, device: torch.device) -> None:
        self._sums, self._device = sums, device
        self._last: tuple[StepDone, int, float] | None = None  # with videos and seconds up to it

    def after_step(self, done: StepDone) -> None:
        _, videos, seconds = self._last or (done, 0, 0.0)
        self._last = done, videos + done.report.videos, seconds + done.seconds

    def text(self) -> str:
        """The mean loss of the epoch so far, the learning rate, the speed of its steps, and memory."""
        if self._last is None:
            return ""
        done, videos, seconds = self._last
        sums = done.report.sums.tolist()
        parts = [f"loss {self._sums.losses(sums)['loss']:.4f}"] if sums[self._sums.videos] > 0 else []
        parts += [
            f"rate {done.learning_rate:.3g}",
            f"{videos / max(seconds, 1e-9):.0f} videos/s",
            f"{memory_gigabytes(self._device):.1f} GB",
        ]
        return ", ".join(parts)


def epoch_text(line: Mapping[str, float], selection: Selection, progress: Progress, removes: bool) -> str:
    """An epoch that is at its end in the log, by its line in the history: where the best score was if not here, what
    was removed if the method `removes` labels, and only those shares of its time that are worth a word."""
    parts = [f"loss {line['train/loss']:.4f}", *_validated(line, selection, progress)]
    removed = [f"{n.removeprefix(REMOVED)} {count:.0f}" for n, count in line.items() if n.startswith(REMOVED)]
    parts += [f"removed {', '.join(removed)}"] if removes and removed else []
    shares = {"waiting for data": "data_wait", "ranking": "ranking", "exchanging": "exchange"}
    told = [f"{name} {100 * line[f'perf/share_{of}']:.0f} %" for name, of in shares.items() if _matters(line, of)]
    speed = f"{line['perf/videos_per_second']:.0f} videos/s"
    return ", ".join(parts) + "; " + speed + (f" ({', '.join(told)})" if told else "")


def _validated(line: Mapping[str, float], selection: Selection, progress: Progress) -> list[str]:
    """The number on val by which is selected, with the best one so far; nothing where the last epoch is kept."""
    name, best = f"val/{selection.by}", progress.best
    if name not in line:
        return []
    score = selection.score({selection.by: line[name]})
    told = f"{'loss on val' if selection.by == LOSS else selection.by} {selection.text(score)}"
    if best.epoch != progress.epoch:
        within = "" if best.step == progress.step else f"after step {best.step} of "  # epochs have equally many
        return [f"{told} (best {selection.text(best.score)} {within or 'in '}epoch {best.epoch + 1})"]
    if best.step != progress.step:
        return [f"{told} (best {selection.text(best.score)} after step {best.step})"]
    return [told]


def _matters(line: Mapping[str, float], share: str) -> bool:
    return line[f"perf/share_{share}"] >= WORTH_TELLING
