"""What a message says beside its tensors: the request to a site and the site's report, as plain scalars.

These tables are closed: a field that is not listed here cannot travel. Flower carries them as a ConfigRecord and a
MetricRecord; the adapters in `server` and `site_client` are the only code that knows.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from fedsurg.errors import ContractError

# Names of the records in a message; UPDATE holds the one array VECTOR, LAYOUT its tensors' names and shapes. HEAD is
# the sender's signed audit head, between a coordinator and hospitals; a simulation has none.
UPDATE, LAYOUT, REQUEST, REPORT, ORIGIN, HEAD = "update", "layout", "request", "report", "origin", "head"
VECTOR = "vector"
CERTIFICATE = "certificate"  # one more field of a request's HEAD: PEM, of the key that signed it

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Request:
    """From the server to a site: `work` in `round` of the study with this digest.

    `train` asks for one round of local work; `finish` delivers the last average, and the reply has no tensors.
    """

    study: str
    contract: str
    round: int
    work: str = "train"

    def facts(self) -> dict[str, Scalar]:
        """As plain scalars."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, object]) -> "Request":
        """Read a request.

        Raises:
            ContractError: a field is missing, unknown or of another type.
        """
        _check_keys(facts, tuple(field.name for field in fields(cls)), "request")
        study, contract, number, work = (facts[key] for key in ("study", "contract", "round", "work"))
        if not (isinstance(study, str) and isinstance(contract, str) and isinstance(number, int)):
            raise ContractError("request has fields of the wrong type; update fedsurg on both ends")
        if work not in ("train", "finish") or number < 1:
            raise ContractError(f"request asks for {work!r} in round {number}; known: 'train', 'finish', from round 1")
        return cls(study, contract, number, str(work))


@dataclass(frozen=True)
class Report:
    """From a site to the server: counts, mean scores and seconds. NaN: not measured in this round.

    `received_*` describe the model as it arrived (with the site's private part), `trained_*` after local work.
    """

    samples: int
    train_loss: float = math.nan
    received_loss: float = math.nan
    received_dice: float = math.nan
    received_iou: float = math.nan
    trained_loss: float = math.nan
    trained_dice: float = math.nan
    trained_iou: float = math.nan
    train_s: float = 0.0
    validate_s: float = 0.0
    data_s: float = 0.0
    other_s: float = 0.0

    def facts(self) -> dict[str, float | int]:
        """As plain numbers."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, object]) -> "Report":
        """Read a report.

        Raises:
            ContractError: a metric is missing, is not listed above, or is no number.
        """
        names = tuple(field.name for field in fields(cls))
        _check_keys(facts, names, "report")
        samples = facts["samples"]
        if isinstance(samples, bool) or not isinstance(samples, int):
            raise ContractError(f"report: samples must be an integer, got {samples!r}")
        numbers: dict[str, float] = {}
        for name in names[1:]:
            value = facts[name]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ContractError(f"report: {name} must be a number, got {type(value).__name__}")
            numbers[name] = float(value)
        return cls(samples, **numbers)


def _check_keys(facts: Mapping[str, object], allowed: tuple[str, ...], what: str) -> None:
    missing = [name for name in allowed if name not in facts]
    extra = [str(name)[:40] for name in facts if name not in allowed]
    if missing or extra:
        raise ContractError(f"{what} lacks {missing} and has unlisted {extra}; allowed: {', '.join(allowed)}")
