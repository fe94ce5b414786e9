"""What a check of the doctor gets and gives."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from fedsurg.errors import FedsurgError
from site_client.site_folder import Membership


class ToDoError(FedsurgError):
    """Something that a person has to do before the site can take part; the message says what."""


@dataclass(frozen=True)
class Site:
    """The site that is looked at."""

    folder: Path
    membership: Membership
    now: datetime

    @cached_property
    def trial(self) -> str | FedsurgError:
        """What the gateway answered, or what was in the way: it is asked once."""
        from site_client.connection import check_connection

        try:
            return check_connection(self.folder)
        except FedsurgError as problem:
            return problem


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: all is well and `line` a fact, or `line` says what is to be done."""

    check: str
    ok: bool
    line: str

    def __str__(self) -> str:
        return f"{'ok   ' if self.ok else 'TO DO'}  {self.check:<12}  {self.line}"
