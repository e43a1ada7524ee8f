"""What a client does: tuning, masks, pooled training, scoring, probing."""
