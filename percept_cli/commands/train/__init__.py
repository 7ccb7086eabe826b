"""The commands that train: one module each."""
