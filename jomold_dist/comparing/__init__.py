"""Results of several runs against each other: which belong together, differences by seed, and what may be said of them.

What is read here was written by finished runs. Nothing is trained, and no run's folder is written to.
"""
