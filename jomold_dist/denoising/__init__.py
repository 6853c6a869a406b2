"""Noise ratios, Algorithm 1, its exchange over ranks, and the methods."""
