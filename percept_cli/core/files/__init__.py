"""Paths, folders and formats: what is read, and where results are written, whole or not at all."""
