"""Bring a dataset: unpack official archives, and say what is there."""
