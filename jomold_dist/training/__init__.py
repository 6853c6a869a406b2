"""One trainer: steps, epochs, stages, and the folder of a run."""
