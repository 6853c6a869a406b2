"""A data set: what it is (format), how it is made (packing), whether it is so (checking), what is in it (looking), and
how it is served (reading)."""
