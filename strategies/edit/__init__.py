"""Strategies whose deletion edits the model in service: approximate."""
