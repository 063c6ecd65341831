"""All that the plugin says leaves here, as text: nothing in it is an order to the terminal.

Notes, a step's last words and conditions are written by people and programs. An escape sequence in
one could clear the screen, write another line over what it says, or set the window's title.
"""

from __future__ import annotations

import sys
import unicodedata

# Control characters; those that turn the direction of text, or show nothing; halves of characters,
# which cannot be written; separators of lines. An emoji of several is taken apart for it.
_UNSEEN = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])


def visible(text: str) -> str:
    r"""One line that shows what is in the text, control characters as Python writes them.

    >>> print(visible("50%\r\x1b[2Jsaved\n"))
    50%\r\x1b[2Jsaved\n
    """
    return "".join(map(_visible, text))


def say(line: str) -> None:
    """One line of the answer."""
    print(visible(line))


def complain(line: str) -> None:
    """One line about what went wrong."""
    print(visible(line), file=sys.stderr)


def _visible(letter: str) -> str:
    if unicodedata.category(letter) not in _UNSEEN:
        return letter
    return letter.encode("unicode_escape").decode()
