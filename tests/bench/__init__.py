"""Tests of the measurements: that each suite measures what it says."""
