"""What a stage of a run is: something that is done once, and leaves a file that later stages find."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jomold_dist.config import Config
from jomold_dist.data.reading.shares import steps_of_pass
from jomold_dist.distributed.world import World, agree_on_errors, broadcast_object
from jomold_dist.models.network import Network
from jomold_dist.models.weights import load_model
from jomold_dist.training.passes import COMPUTE_DTYPES
from jomold_dist.training.run import Run

Found = Mapping[str, Any]
"""What earlier stages have left, by their names."""


class Stage(ABC):
    """One stage of a method, before the scores on test."""

    name: str
    """As status.json and MLflow call it, and how later stages find what it left."""
    makes_model = False
    """Whether it trains the network that is the run's result."""
    last_reader: str | None = None
    """The last stage that looks at what it leaves: then the ranks drop it. None: they hold it to the end."""

    @abstractmethod
    def is_done(self, run: Run) -> bool:
        """Whether its file is there. On rank 0 only; RunFolderError or UnreadableError if that cannot be used."""

    @abstractmethod
    def do(self, run: Run, found: Found) -> None:
        """Collective: leaves the file."""

    def read(self, run: Run) -> Any:
        """What it has left, for later stages on every rank. On rank 0 only, once the stage is done."""
        return None

    def passes(self, config: Config) -> tuple[int, int]:
        """How often it runs a network over the training videos without training, and in batches of how many."""
        return 0, config.train.batch_size

    def steps(self, config: Config, videos: int, ranks: int) -> int:
        """In how many batches it runs once over so many training videos on so many ranks."""
        return steps_of_pass(videos, self.passes(config)[1], ranks)


@contextmanager
def results(run: Run) -> Iterator[bool]:
    """Collective at its end: a block in which rank 0 writes results; yields whether this is rank 0. What goes wrong
    there is an error on every rank."""
    with agree_on_errors(run.world), run.folder.writes():
        yield run.world.is_main


def load_trained(run: Run, weights: Path) -> Network:
    """Collective: the network of a weights file, which rank 0 reads, on every rank's device, computing as in
    training."""
    with agree_on_errors(run.world):
        read = load_model(weights) if run.world.is_main else None
    return ready_to_compute(broadcast_object(read, run.world), run.config, run.world)


def ready_to_compute(network: Network, config: Config, world: World) -> Network:
    """The network on this rank's device, computing as in training."""
    network.compute_dtype = COMPUTE_DTYPES[config.train.precision]
    return network.to(world.device)
