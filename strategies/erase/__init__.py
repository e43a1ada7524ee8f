"""Strategies whose deletion erases files of the client, and nothing else."""
