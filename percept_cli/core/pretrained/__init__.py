"""Networks with trained weights, by name or from files."""
