"""Photographs for training: crops, pairs, degradations."""
