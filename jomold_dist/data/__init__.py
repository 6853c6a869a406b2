"""Labels and features to shards, and shards to batches.

Names are imported from the modules: most of them need no torch, and what packs or checks a data set goes without.
"""
