"""Every error that a command of fedsurg ends with on purpose.

    FedsurgError            one line for a person: what, where, what to do
    ├── StudyError          the study file
    ├── DataError           a site's data folder
    ├── NetworkError        a network, backbone or text vector that cannot be built
    ├── ContractError       an update that is not what the sharing contract says
    ├── CheckpointError     a checkpoint or private state that cannot be used or written
    │   └── VaultError      sealed private state: wrong key, changed bytes, a state that is gone
    ├── PolicyError         what the hospital's policy does not allow
    ├── AuditError          an audit log that is damaged, was rewritten or cannot be written
    ├── StoppedError        a site's work that was cancelled, or that nobody waits for any more
    ├── BusyError           a site that works already, with more waiting
    ├── FederationError     a round or run that cannot go on (quorum missed, guard tripped)
    ├── SimulatorError      rendering
    ├── RunError            the output directory of a run
    ├── SupervisionError    processes that run already, do not run, or cannot be started
    ├── JoiningError        joining a federation: a name, a file, a folder that does not fit
    │   ├── UnreadableError     not a file of this kind or version
    │   ├── AlteredError        a signature or a proof does not fit what the file says
    │   ├── ForeignError        made for another federation, another site or another request
    │   ├── ExpiredError        too late: an invitation or a certificate has ended
    │   ├── ReplayedError       used before
    │   ├── RevokedError        of a site or a certificate that was revoked
    │   ├── ClockError          from the future: one of two clocks is wrong
    │   └── ExposedError        a private folder or key that others may read
    └── InterruptedRunError the person stopped the run; state is on disk

The command line prints the message and exits with `exit_code`; the traceback appears with `--debug` only. `one_line`
and `first_mistake` make such a message of what others said.
"""

import os
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

DEBUG = "FEDSURG_DEBUG"  # set by `--debug`; an environment variable, so that worker processes know it too


def debugging() -> bool:
    """A person asked for tracebacks."""
    return bool(os.environ.get(DEBUG))


def one_line(text: str, most: int | None = None) -> str:
    """What another end or a file said, as (at most so many) letters that a terminal prints and nothing else."""
    return "".join(letter if unicodedata.category(letter)[0] != "C" else "?" for letter in text[:most])


def first_mistake(problem: "ValidationError") -> str:
    """The first of pydantic's complaints in one line, `key: what is wrong`; the value found may be secret."""
    first = problem.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"]))
    said = first["msg"].removeprefix("Value error, ")
    return f"{key}: {said}" if key else said


class FedsurgError(Exception):
    """Base of all intended errors; the message is one line for a person."""

    exit_code = 1


class StudyError(FedsurgError):
    """A study file with an unknown key, a wrong type, or values that contradict each other."""

    exit_code = 2


class DataError(FedsurgError):
    """Site data that is missing, unreadable or inconsistent."""

    exit_code = 3


class NetworkError(FedsurgError):
    """A backbone that does not fit, a missing weight file or an unknown text vector."""


class ContractError(FedsurgError):
    """Tensors that do not match the sharing contract: missing, extra, mis-shaped, non-finite, oversized."""


class CheckpointError(FedsurgError):
    """A checkpoint or private state that is damaged, belongs to another study, or cannot be written."""


class VaultError(CheckpointError):
    """Sealed private state that does not open: wrong key, changed bytes, a missing file."""


class PolicyError(FedsurgError):
    """A study, request or reply that the hospital's own rules do not allow."""

    exit_code = 5


class AuditError(FedsurgError):
    """An audit log that is damaged, contradicts a signed head, or cannot be written."""


class StoppedError(FedsurgError):
    """A site's work that was cancelled, or whose asker has gone; the state saved last is as it was."""


class BusyError(FedsurgError):
    """A site works on one request at a time, and enough others wait."""


class FederationError(FedsurgError):
    """A round that missed its quorum, or a server step that may not go on."""


class SimulatorError(FedsurgError):
    """Rendering that cannot start or did not finish."""


class RunError(FedsurgError):
    """An output directory that is taken, foreign or cannot be written."""


class SupervisionError(FedsurgError):
    """Processes that run already, do not run, or cannot be started."""

    exit_code = 6


class JoiningError(FedsurgError):
    """Joining a federation failed; nothing was changed, unless the message says what was."""

    exit_code = 4


class UnreadableError(JoiningError):
    """A file that is not of the kind or version it should be."""


class AlteredError(JoiningError):
    """A signature or a proof does not fit what the file says."""


class ForeignError(JoiningError):
    """A file made for another federation, another site or another request."""


class ExpiredError(JoiningError):
    """An invitation or a certificate that has ended."""


class ReplayedError(JoiningError):
    """A file that did its work before."""


class RevokedError(JoiningError):
    """A site or a certificate that was revoked."""


class ClockError(JoiningError):
    """A date in the future: one of two clocks is wrong."""


class ExposedError(JoiningError):
    """A private folder or key that others may read."""


class InterruptedRunError(FedsurgError):
    """The person pressed Ctrl-C; everything up to the last finished round is on disk."""

    exit_code = 130
