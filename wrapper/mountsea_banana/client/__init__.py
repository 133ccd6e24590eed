"""The client: from a call in Python to a saved image."""
