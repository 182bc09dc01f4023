"""Measurements, run by hand with `./dev bench`."""
