"""Shards: one file per data family; ``loaders`` has a row for each."""
