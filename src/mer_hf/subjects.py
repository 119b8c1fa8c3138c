"""Who is seen in a clip: one person, one spelling, however a table has it."""

import re
import unicodedata

import numpy as np

from mer_hf.errors import MerHfError
from mer_hf.escaping import check_name

WHOLE_NUMBER = re.compile(r"0*([0-9]+)(?:\.0*)?")


def subject_name(value: object) -> str:
    """The name of a subject, spelt in one way.

    A table may hold one person as `1`, `1.0`, `"1"`, `"1.0"`, `"01"` or `" 1 "`; all of them are `"1"`. Whoever is told
    apart by spelling alone would be trained on and tested on at once. Other text stays as it is (`"sub01"`,
    `"casme2/sub01"`, `"S 7"`), but for the spaces around it, repeated spaces and the Unicode form. Of a ClassLabel
    column pass the name of the class, `feature.int2str(value)`, for its number depends on who else is in the column.

    Args:
        value: Text, a whole number, or a float that is one; of Python or numpy.

    Raises:
        MerHfError: It is empty, NaN, a fraction, of another type, or holds a line break or another control character.
    """
    if isinstance(value, str):
        name = re.sub(" +", " ", unicodedata.normalize("NFC", value).strip())
        number = WHOLE_NUMBER.fullmatch(name)
        if name:
            return number[1] if number else check_name(name, "a subject")
    elif (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and value == value // 1
    ):
        return str(int(value))
    raise MerHfError(f"the subject {value!r} is no name: expected text in one line, or a whole number")


__all__ = ["subject_name"]
