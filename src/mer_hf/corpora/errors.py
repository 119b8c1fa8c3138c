"""What can be wrong with a corpus. Each message says what was found, where, what was expected, and what to do."""

from mer_hf.errors import MerHfError


class MerDataError(MerHfError):
    """Something is wrong with the data on disk; the message says what, where, and what to do."""


class CorpusNotFoundError(MerDataError):
    """The folder of a corpus, its sheet or its frames are not where they were looked for."""


class AnnotationError(MerDataError):
    """The sheet is there, but what it says cannot be read, or does not fit the frames on disk."""


class LicenceError(MerHfError):
    """What was about to be passed on is made of a corpus whose licence forbids that."""
