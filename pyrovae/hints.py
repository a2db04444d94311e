"""Suggestions for misspelt names."""

import difflib
from collections.abc import Sequence


def nearest(name: str, names: Sequence[str]) -> str:
    """The known name closest to a misspelt one, as the end of a message; "" if none is close.

    >>> nearest("standardnormal", ["Flow", "StandardNormal"])
    '; did you mean StandardNormal?'
    """
    lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    close = close or [known for known in lower if name and known.startswith(name.lower())]
    return f"; did you mean {lower[close[0]]}?" if close else ""
