"""The engine: images, extractors, losses, generators and the loops that join them. Prints nothing."""
