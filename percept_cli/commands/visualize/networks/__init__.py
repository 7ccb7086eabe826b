"""Pictures of networks: filters, features, objectives."""
