"""Approvals: which studies a hospital takes part in, one file per study in its own folder.

    approvals/DIGEST.toml         what was approved, by whom, until when
    approvals/DIGEST.study.json   the study itself, as it was read; its digest is computed again at each use

The two files are the hospital's. Who may write in the folder may approve: give that right to the persons who decide.
"""

import json
import re
import tomllib
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pydantic import ValidationError

from fedsurg.errors import PolicyError, StudyError, first_mistake
from fedsurg.files import FEWEST_CHARACTERS, begins, canonical_json, toml_lines, write_atomic
from fedsurg.study.config import Count, Positive, Section, Study
from fedsurg.study.digest import study_digest
from fedsurg.study_file.load import parse_values

FOLDER = "approvals"
DEFAULT_DAYS = 180  # an approval without a date ends: nobody remembers to close what was opened for ever
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Approval(Section):
    """One approval; the keys of its file."""

    study: str  # digest
    name: str  # of the study
    method: str
    contract: str  # digest of the table of tensors that leave
    rounds: Positive  # of the study
    max_rounds: Positive  # that may train here
    expires: date  # the last day, UTC
    approver: str
    approved: datetime
    second_approver: str = ""
    second_approved: datetime | None = None
    revoked: bool = False
    revoked_by: str = ""
    version: Count = 1

    def state(self, *, today: date, two_approvers: bool) -> str:
        """`approved`, or why it is not, in a word or two."""
        if self.revoked:
            return "revoked"
        if today > self.expires:
            return "expired"
        if two_approvers and not self.has_two:
            return "waits for a second approver"
        return "approved"

    @property
    def has_two(self) -> bool:
        """Two persons approved: two names, whatever their case and spaces."""
        first, second = ("".join(name.casefold().split()) for name in (self.approver, self.second_approver))
        return bool(first and second) and first != second


class Approvals:
    """The approvals in a hospital's folder.

    Args:
        folder: of the site.
        now: the time; for tests.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.folder, self._now = folder / FOLDER, now

    @property
    def today(self) -> date:
        """The day, UTC."""
        return self._now().date()

    def approve(
        self,
        study: Study,
        method: str,
        contract: str,
        approver: str,
        *,
        second: str = "",
        max_rounds: int | None = None,
        expires: date | None = None,
        announce: Callable[[Approval], None] = lambda approval: None,
    ) -> Approval:
        """Approve a study, or add the second person to an approval that waits for one and is otherwise the same.

        Args:
            study: as it will be run.
            method: of the study.
            contract: digest of what leaves.
            approver: who approves.
            second: another person who does.
            max_rounds: default: all of the study.
            expires: last day; default: in 180 days.
            announce: told of the approval before it counts; what it raises ends this, and nothing is approved.

        Raises:
            PolicyError: more rounds than the study has, a day that is over, twice the same person, or other limits than
                the first person's.
        """
        rounds, today, digest = study.federation.rounds, self.today, study_digest(study)
        if max_rounds is not None and not 1 <= max_rounds <= rounds:
            raise PolicyError(f"--max-rounds {max_rounds}: the study has {rounds} rounds; give 1 to {rounds}")
        if expires and expires < today:
            raise PolicyError(f"--expires {expires}: is over, today is {today}; give a day to come")
        waiting = self._waiting(digest, method, contract) if second else None
        if waiting:
            for option, given, first in (
                ("--max-rounds", max_rounds, waiting.max_rounds),
                ("--expires", expires, waiting.expires),
            ):
                if given not in (None, first):
                    raise PolicyError(
                        f"{option} {given}: {waiting.approver} has approved {first}; leave {option} out, or let the "
                        "first person approve anew"
                    )
        approval = waiting or Approval(
            study=digest,
            name=study.name,
            method=method,
            contract=contract,
            rounds=rounds,
            max_rounds=max_rounds or rounds,
            expires=expires or today + timedelta(days=DEFAULT_DAYS),
            approver=_clean(approver),
            approved=self._now(),
        )
        if second:
            more = {"second_approver": _clean(second), "second_approved": self._now()}
            approval = approval.model_copy(update=more)
            if not approval.has_two:
                raise PolicyError(f"{second!r} has approved already; the second approver is another person")
        announce(approval)
        write_atomic(self._study_path(digest), canonical_json(study.resolved()) + "\n", error=PolicyError)
        self._write(approval)
        return approval

    def revoke(self, digest: str, who: str) -> Approval:
        """Close a study at once: no request is answered, and nothing of what is in hand leaves."""
        approval = self.read(digest).model_copy(update={"revoked": True, "revoked_by": _clean(who)})
        self._write(approval)
        return approval

    def read(self, digest: str) -> Approval:
        """The approval of a study.

        Raises:
            PolicyError: there is none, or its file is damaged or of another study.
        """
        path = self.folder / f"{digest}.toml"
        if not _DIGEST.fullmatch(digest) or not path.exists():
            raise PolicyError(
                f"study {digest[:12]} is not approved here; read it with fedsurg site review STUDY.toml, then decide"
            )
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            found = Approval.model_validate(values)
        except (OSError, ValueError) as problem:
            why = first_mistake(problem) if isinstance(problem, ValidationError) else problem
            raise PolicyError(f"{path}: is no approval ({why}); approve the study again") from problem
        if found.study != digest:
            raise PolicyError(f"{path}: approves the study {found.study[:12]}, not the one in its name; approve again")
        return found

    def study(self, digest: str) -> Study:
        """The study as it was approved.

        Raises:
            PolicyError: its copy is gone, or one byte of it was changed.
        """
        path = self._study_path(digest)
        try:
            study = parse_values(json.loads(path.read_text(encoding="utf-8")), str(path), {})
        except (OSError, ValueError, StudyError) as problem:
            raise PolicyError(f"{path}: cannot be read ({problem}); approve the study again") from problem
        if study_digest(study) != digest:
            raise PolicyError(f"{path}: was changed: its digest is {study_digest(study)[:12]}; approve the study again")
        return study

    def all(self) -> list[Approval]:
        """Every approval, by the study's name."""
        paths = self.folder.glob("*.toml") if self.folder.is_dir() else ()
        return sorted((self.read(path.stem) for path in paths), key=lambda one: (one.name, one.study))

    def find(self, text: str) -> str:
        """The digest that begins with `text`.

        Raises:
            PolicyError: none does, more than one does, or it is too short.
        """
        known = sorted(path.stem for path in self.folder.glob("*.toml")) if self.folder.is_dir() else []
        found = [digest for digest in known if begins(digest, text)]
        if len(found) != 1:
            raise PolicyError(
                f"{text!r} names {len(found)} studies here; give {FEWEST_CHARACTERS} or more characters of one digest, "
                "as fedsurg site approvals lists them"
            )
        return found[0]

    def _waiting(self, digest: str, method: str, contract: str) -> Approval | None:
        """An approval that lacks nothing but its second person."""
        if not (self.folder / f"{digest}.toml").exists():
            return None
        found = self.read(digest)
        same = (found.method, found.contract) == (method, contract)
        good = found.state(today=self.today, two_approvers=False) == "approved"
        return found if same and good and not found.second_approver else None

    def _study_path(self, digest: str) -> Path:
        return self.folder / f"{digest}.study.json"

    def _write(self, approval: Approval) -> None:
        write_atomic(self.folder / f"{approval.study}.toml", toml_lines(approval.model_dump()), error=PolicyError)


def _clean(name: str) -> str:
    """A person's name on one line.

    Raises:
        PolicyError: it is empty, or holds what is no character.
    """
    found = " ".join(name.split())[:80]
    if not found:
        raise PolicyError("the approver has no name; give one with --approver")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in found):
        raise PolicyError(f"{found!r}: an approver's name has letters, no control characters; give another")
    return found
