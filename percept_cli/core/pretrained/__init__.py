"""From names and files to networks with their weights."""
