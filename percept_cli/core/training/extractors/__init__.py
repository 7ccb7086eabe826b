"""Extractors that are trained: distilled from real networks, or from images and clips alone."""
