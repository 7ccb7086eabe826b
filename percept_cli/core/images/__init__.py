"""Images: decoded, encoded, resized, masked and cut into tiles."""
