"""Measurements; a developer runs them by hand with `./dev bench`."""
