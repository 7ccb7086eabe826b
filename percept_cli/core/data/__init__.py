"""The data of trainings: crops of photographs, pairs, and degradations."""
