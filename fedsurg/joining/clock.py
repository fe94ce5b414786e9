"""Dates in files and certificates: UTC, whole seconds, and how far two clocks may differ."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer

from fedsurg.errors import ClockError, ExpiredError

# A machine without time service drifts by seconds a day, so by minutes between two services; more is a wrong clock.
CLOCK_SKEW = timedelta(minutes=5)


def now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC).replace(microsecond=0)


def stamp(moment: datetime) -> str:
    """A date as files write it: 2026-03-01T09:30:00Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown(moment: str) -> str:
    """A date of a file as people read it: 2026-03-01 09:30:00 UTC."""
    return f"{moment[:19].replace('T', ' ')} UTC"


def day(moment: datetime) -> str:
    """A date as people read it: 2026-03-01."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def _whole_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a date without a time zone; write it like 2026-03-01T09:30:00Z")
    return moment.astimezone(UTC).replace(microsecond=0)


Moment = Annotated[datetime, AfterValidator(_whole_utc), PlainSerializer(stamp, return_type=str)]


def require_begun(what: str, since: datetime, now: datetime) -> None:
    """`what`, made at `since`, is not from the future.

    Raises:
        ClockError: it is, by more than `CLOCK_SKEW`.
    """
    if since > now + CLOCK_SKEW:
        raise ClockError(
            f"{what} was made at {stamp(since)}, and the clock of this machine says {stamp(now)}; set the clock "
            "that is wrong (here or where the file was made), then try again"
        )


def require_not_ended(what: str, until: datetime, now: datetime, advice: str) -> None:
    """`what` is still good at `now`.

    Raises:
        ExpiredError: it ended before; the message closes with `advice`.
    """
    if now > until:
        raise ExpiredError(f"{what} ended at {stamp(until)} (the clock of this machine says {stamp(now)}); {advice}")
