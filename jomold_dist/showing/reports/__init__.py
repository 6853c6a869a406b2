"""Pages that sum up: the report of a run, and the report on its labels."""
