"""Pictures of what commands made: comparisons, trainings, models."""
