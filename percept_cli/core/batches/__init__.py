"""Many pictures through one operation: planned, computed side by side, recorded."""
