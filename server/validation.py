"""What the server believes of a site's reply: nothing that it has not checked."""

from dataclasses import dataclass

from fedsurg.errors import ContractError
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.protocol import Report
from fedsurg.sharing.update import Packed, Update
from fedsurg.study.config import FederationConfig


@dataclass(frozen=True)
class Accepted:
    """A reply that passed: its update and its report."""

    update: Update
    report: Report


def check_reply(
    site: str,
    packed: Packed,
    report: Report,
    *,
    sent: Update,
    contract: Contract,
    limits: FederationConfig,
) -> Accepted:
    """Check one reply to a training request.

    1. The sample count lies in `minimum_samples`..`max_samples`.
    2. Names, dtypes, shapes and sizes are the contract's, all values finite.
    3. The update moved at most `max_update_norm` from what was sent.

    Raises:
        ContractError: naming the rule, what was found and what is allowed.
    """
    # 1.
    if not limits.minimum_samples <= report.samples <= limits.max_samples:
        raise ContractError(
            f"claims {report.samples} samples, allowed are {limits.minimum_samples} to {limits.max_samples}"
        )
    # 2.
    update = Update.unpack(packed, contract)
    # 3.
    moved = update.distance(sent)
    if not moved <= limits.max_update_norm:
        raise ContractError(f"moved by a norm of {moved:.4g}, allowed is {limits.max_update_norm:.4g}")
    return Accepted(update, report)
