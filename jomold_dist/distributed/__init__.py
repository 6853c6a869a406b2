"""Ranks, collectives and engines."""
