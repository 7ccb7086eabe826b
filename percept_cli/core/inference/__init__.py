"""Trained generators applied to photographs."""
