"""Strategies whose deletion subtracts, and learns masks or clusters again."""
