"""Pictures that explain networks and results: each module measures one thing and draws it."""
