"""Many runs as one: strategies compared."""
