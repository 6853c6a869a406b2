"""Whole shards and whole data sets against what their manifest says. No torch."""
