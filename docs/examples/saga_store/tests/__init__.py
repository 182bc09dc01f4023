"""The behaviours of the task saga store, each on memory and on a real file."""
