"""Figures of images and features: distances, spectra, and a linear probe."""
