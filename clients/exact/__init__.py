"""Bits: exact sums on a grid, packed masks, digests, deterministic kernels, files that are written whole."""
