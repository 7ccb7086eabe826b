"""Pictures that explain: each module measures one thing and draws it."""
