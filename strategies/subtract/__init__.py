"""Strategies whose deletion subtracts what the client added, derived again."""
