"""How far two images are from each other, and what their features tell: figures, not losses."""
