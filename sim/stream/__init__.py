"""What happens when: requests and releases in simulated time."""
