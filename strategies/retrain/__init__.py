"""Strategies whose deletion trains again on the data of those who stay."""
