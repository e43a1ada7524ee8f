"""Scenarios that come with Unmerge; ``unmerge run NAME`` finds them from anywhere."""
