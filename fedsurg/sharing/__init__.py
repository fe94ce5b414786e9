"""What leaves a site: the contract, the update and the message's plain fields."""

from fedsurg.sharing.contract import Contract, Entry
from fedsurg.sharing.protocol import Report, Request
from fedsurg.sharing.update import RunningMean, Update, average

__all__ = ["Contract", "Entry", "Report", "Request", "RunningMean", "Update", "average"]
