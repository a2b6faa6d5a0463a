"""The story of a search: ask, gate, train, tell."""
