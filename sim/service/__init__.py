"""The deletion service in time: its queue, releases and deadlines, simulated without training anything."""
