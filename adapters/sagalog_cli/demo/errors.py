"""The one error of the demo itself."""


class DemoFailed(Exception):
    """The demo could not go on to its end: a worker ended by itself, a task went wrong, or the time was over.

    The text says which.
    """
