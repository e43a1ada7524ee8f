"""Tests, and the benchmarks and studies beside them. A package of its own, since a dependency installs one of this name."""
