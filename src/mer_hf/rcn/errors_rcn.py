"""The base of every error that this package explains."""


class MerHfError(ValueError):
    """Something that was given cannot be used; the message says what, where, what was expected, and what to do.

    Whatever else escapes from the package is a fault of the program, and keeps its traceback.
    """


__all__ = ["MerHfError"]
