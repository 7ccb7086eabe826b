"""Images in memory: decoded, encoded, resized, masked, in tiles."""
