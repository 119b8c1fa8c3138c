"""The connection to the Hub, and what goes wrong on it, in words that say what to do."""

import contextlib
import errno
from collections.abc import Generator, Iterator

from huggingface_hub import HfApi, constants, errors, get_token
from huggingface_hub.utils import validate_repo_id

from mer_hf.errors import MerHfError


class HubError(MerHfError):
    """A model cannot go to the Hub, or come from it or from a folder; the message says what to do."""


def connect(repo_id: str, token: str | None = None) -> HfApi:
    """The way to a repository that is written to.

    Args:
        repo_id: `user/name`.
        token: that may write there; the one of HF_TOKEN or of `hf auth login` by default.
    """
    validate_repo_id(repo_id)
    if repo_id.count("/") != 1:
        raise errors.HFValidationError("it must be USER/NAME")
    if token is None and get_token() is None:
        raise errors.LocalTokenNotFoundError
    return HfApi(token=token, library_name="mer_hf")


@contextlib.contextmanager
def explained(name: str) -> Generator[None]:
    """Raise what huggingface_hub, or transformers over it, cannot do as a `HubError`, and everything else as it is.

    Args:
        name: of the model on the Hub, `user/name`.
    """
    try:
        yield
    except Exception as error:
        words = None if isinstance(error, HubError) else _in_words(error, name)
        if words is None:
            raise
        raise HubError(words) from error


_LOG_IN = "log in by `hf auth login`, or set HF_TOKEN"
# the first that fits an error or one of its causes
_WORDS: dict[type[BaseException], str] = {
    errors.HFValidationError: "{name!r} is no folder here, and no name on the Hub: {cause}",
    errors.LocalTokenNotFoundError: "nobody is logged in at {hub}: {log_in} to a token that may write "
    "({hub}/settings/tokens)",
    errors.OfflineModeIsEnabled: "HF_HUB_OFFLINE is set, but {name} can neither be had nor pushed without {hub}; "
    "unset it",
    errors.GatedRepoError: "{name} is gated: ask for access at {hub}/{name}, then {log_in} to a token of that account",
    errors.RevisionNotFoundError: "{name} is on the Hub, but has no such revision; see {hub}/{name}/commits/main",
    errors.RepositoryNotFoundError: "there is no {name} at {hub}, or it is private; check the name, and for a private "
    "one {log_in}",
}
_STATUS = {
    401: "{hub} does not accept the token{said}: make a new one at {hub}/settings/tokens, and {log_in}",
    403: "the token may not do that to {name}{said}: the name is somebody else's, or the token may only read; choose a "
    "name of your own, or see {hub}/settings/tokens",
    429: "{hub} was asked too often (HTTP 429); try again {wait}",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _in_words(error: BaseException, name: str) -> str | None:
    """What happened and what to do; None for an error that has nothing to do with the Hub."""
    hub, causes = constants.ENDPOINT, list(_causes(error))
    for kind, words in _WORDS.items():
        for cause in (cause for cause in causes if isinstance(cause, kind)):
            return words.format(name=name, hub=hub, log_in=_LOG_IN, cause=first_line(cause))
    if any(isinstance(cause, OSError) and cause.errno in _FULL for cause in causes):
        return (
            f"the disk is full; {name} is downloaded to {constants.HF_HUB_CACHE}, make room there or set HF_HUB_CACHE"
        )
    for cause in (cause for cause in causes if isinstance(cause, errors.HfHubHTTPError)):
        return _status_in_words(cause, name)
    for cause in (cause for cause in causes if _is_transport_error(cause)):
        reason = f"{type(cause).__name__}: {first_line(cause)}"
        return f"{hub} cannot be reached, or the connection broke off ({reason}); check it, and try again"
    if any(isinstance(cause, errors.LocalEntryNotFoundError) for cause in causes):
        return f"{name} is not in the cache, and {hub} gives no answer; check the connection, and try again"
    return None


def _status_in_words(error: errors.HfHubHTTPError, name: str) -> str:
    hub, status, retry = constants.ENDPOINT, error.response.status_code, error.response.headers.get("Retry-After")
    said = f" ({first_line(ValueError(error.server_message))})" if error.server_message else ""
    wait = f"in {retry} seconds" if retry else "later"
    if status in _STATUS:
        return _STATUS[status].format(name=name, hub=hub, log_in=_LOG_IN, said=said, wait=wait)
    if status >= 500:
        return f"{hub} has a fault of its own (HTTP {status}); try again later"
    return f"{hub} refused (HTTP {status}){said}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it was raised from, the outermost first."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_transport_error(error: BaseException) -> bool:
    """Whether it comes from the HTTP library under huggingface_hub, which is another in other versions of it."""
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.startswith("http")


def first_line(error: BaseException) -> str:
    """What an error says, without what follows on further lines."""
    return next(iter(str(error).strip().splitlines()), "")


__all__ = ["HubError", "connect", "explained", "first_line"]
