"""What several rooms use; imports nothing else of this package."""
