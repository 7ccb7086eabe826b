"""Images that are optimized: style transfer, inversion, textures, activation maximization."""
