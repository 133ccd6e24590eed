"""Modules that several packages use. They import nothing else of this project."""
