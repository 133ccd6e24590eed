"""The committed client is what the spec generates, and nothing else gets past the check."""
