"""What a user asks for: the model of a scenario, and its file."""
