"""Pictures of what a network computes."""
