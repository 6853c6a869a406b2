"""Sweeps: which trainings a sweep file asks for, which of them are the same, and running the others on Ray Tune."""
