"""Prices before anything runs: work, speeds, and the room on this machine."""
