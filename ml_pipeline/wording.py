"""Numbers and counts in sentences, as every verdict and report writes them."""

from __future__ import annotations

_ZERO = 1e-12
"""A smaller number is rounding: 0.95 - 0.94 is a little more than 0.01 in binary fractions."""
_LEAST, _MOST = 1e-3, 1e5
"""Between them, four decimals show what a number is."""


def number(value: float) -> str:
    """A number in four decimals; in two digits if it is too small for them, in four if it is large."""
    size = abs(value)
    if size < _ZERO:
        return "0.0000"
    if size < _LEAST:
        return f"{value:.2g}"
    return f"{value:.4f}" if size < _MOST else f"{value:.4g}"


def signed(value: float) -> str:
    """A difference, with its sign; zero has none."""
    text = number(value)
    return text if value < 0 or abs(value) < _ZERO else f"+{text}"


def counted(count: int, thing: str) -> str:
    """A count with its noun, such as ``1 row`` or ``2,500 rows``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
