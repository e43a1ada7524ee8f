"""Proofs of deletion: the audit of a run, and verifying one in a fresh process."""
