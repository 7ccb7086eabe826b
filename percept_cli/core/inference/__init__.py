"""Trained networks on photographs: a photograph in, a photograph out."""
