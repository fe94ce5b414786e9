"""How numbers and names are written, the same in the terminal and in HTML."""

import re
from math import isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import Series

METHOD_NAMES = {
    "fedst": "FedST",
    "fedst-own": "FedST-own",
    "fedst-lite": "FedST-lite",
    "fedst-finetune": "FedST-finetune",
    "fedavg": "FedAvg",
    "fedavg-server": "FedAvg-server",
    "fedavg-own": "FedAvg-own",
    "fedprox": "FedProx",
    "fedbn": "FedBN",
    "fedper": "FedPer",
    "fedrep": "FedRep",
    "feddp": "FedDP",
    "ditto": "Ditto",
    "start": "Start",
    "local": "Local",
    "central": "Central",
}
DASH = "\N{EN DASH}"  # between the ends of an interval, and where there is no number


def method_name(method: str) -> str:
    """The name that the literature uses, or the registry's own."""
    return METHOD_NAMES.get(method, method)


def percent(value: float) -> str:
    """A score of 0..1 as percent with one decimal, without the sign: 0.7594 is `75.9`."""
    return DASH if isnan(value) else f"{100 * value:.1f}"


def printed_best(values: "Series[float]") -> "Series[bool]":
    """Which of the shares are printed as the highest, so that what looks equal is marked alike; NaN never is."""
    return values.notna() & (values.map(percent) == percent(float(values.max())))


def interval(low: float, high: float) -> str:
    """An interval of scores in percent, 71.2 to 80.4, joined by an en dash; empty when there is none."""
    return "" if isnan(low) or isnan(high) else f"{percent(low)}{DASH}{percent(high)}"


def points(value: float) -> str:
    """A difference of scores in percentage points, with its sign: `+6.5`."""
    return DASH if isnan(value) else f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")


def standing(difference: float, unit: str = "points") -> str:
    """Where a score stands to another: `6.5 points above`, or `level with` where the difference rounds to 0."""
    distance = percent(abs(difference))
    if distance == percent(0):
        return "level with"
    return f"{distance} {unit} {'above' if difference > 0 else 'below'}"


def size(count: float) -> str:
    """Bytes for a person, in powers of 1000: 20327824 is `20.33 MB`."""
    if isnan(count):
        return DASH
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= length:
            return f"{count / length:.2f} {unit}"
    return f"{count:.0f} B"


def typeset(text: str) -> str:
    """The same text with its numbers tied to their units, for a page that breaks lines."""
    return re.sub(r"(?<=\d) (?=(?:%|[GMk]?B|s|min|points)\b|%)", "\N{NO-BREAK SPACE}", text)


def duration(seconds: float) -> str:
    """Seconds for a person: `0.4 s`, `13 s`, `21 min 52 s`, `3 h 04 min`."""
    if isnan(seconds):
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def plural(count: int, word: str) -> str:
    """`1 round`, `3 rounds`, `2 replies`."""
    if count == 1:
        return f"1 {word}"
    return f"{count} {word[:-1]}ies" if word.endswith("y") else f"{count} {word}s"


def listed(words: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
