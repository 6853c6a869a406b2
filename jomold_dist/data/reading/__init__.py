"""Data sets to batches: where one lies (source), what is fetched and kept of it, the order of an epoch, the loader.
Nothing here writes a data set."""
