"""The kit for stores, tried as the author of another store would use it."""
