"""Optimization of images: style transfer, inversion, textures, activation maximization."""
