"""A conversation at the terminal: about restaurants, and about stories."""
