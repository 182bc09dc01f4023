"""All tests of sagalog: a package, so that `from tests.… import` works for pytest and for `python -m`."""
