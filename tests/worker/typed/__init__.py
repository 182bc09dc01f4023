"""Handlers and undos whose annotations ask for values of a type."""
