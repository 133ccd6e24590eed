"""What the API requires of a request, as Python functions and as types."""
