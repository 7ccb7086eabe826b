"""The commands that train: one module for each."""
