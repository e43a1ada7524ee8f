"""What an adversary sees: the gap to retraining, and membership."""
