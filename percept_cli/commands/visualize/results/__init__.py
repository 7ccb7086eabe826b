"""Pictures of results: comparisons, trainings, models."""
