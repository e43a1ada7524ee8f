"""Strategies whose deletion merges the task vectors of all who stay again."""
