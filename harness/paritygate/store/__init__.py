"""Goldens, run folders and baselines on disk: content-addressed, written whole or not at all."""
