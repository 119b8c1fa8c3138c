"""What goes wrong on the way to the Hub is told in words; what has nothing to do with it is left alone."""

import errno

import pytest

from mer_hf.hub.connection import _STATUS, _WORDS, HubError, explained, first_line


@pytest.mark.parametrize("kind", _WORDS)
def test_every_error_of_the_hub_has_whole_words(kind):
    error = kind.__new__(kind)
    error.args = ("what it says\nand more",)
    with pytest.raises(HubError) as told, explained("user/name"):
        raise error
    assert str(told.value) and not set("{}\n") & set(str(told.value))
    assert told.value.__cause__ is error


def test_every_status_has_whole_words():
    for words in _STATUS.values():
        assert "{" not in words.format(name="n", hub="h", log_in="l", said="s", wait="w")


def test_a_cause_is_found_under_other_errors():
    with pytest.raises(HubError, match="the disk is full; user/name is downloaded to"), explained("user/name"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("it did not work") from error


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("y"), OSError(errno.ENOENT, "z")])
def test_other_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as passed, explained("user/name"):
        raise error
    assert passed.value is error


def test_the_first_line_of_an_error_without_text_is_empty():
    assert first_line(ValueError()) == ""
    assert first_line(ValueError("\none\ntwo")) == "one"
