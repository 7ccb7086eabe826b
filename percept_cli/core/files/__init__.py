"""Paths, folders and formats: which files are read, and where results are written."""
