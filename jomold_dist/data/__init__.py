"""A data set: what it is (format), how it is made (packing), looked over (checking) and served (reading)."""
