"""Networks that are trained: the loop, its runs and recipes, and one module for each kind of network."""
