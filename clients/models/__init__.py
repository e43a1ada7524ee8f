"""Base models, flat: what is tuned, scored and masked; ``loaders`` opens the one that a scenario names."""
