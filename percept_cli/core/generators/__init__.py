"""Networks that make images: for styles, translations, enlarging, inversion, and their discriminators."""
