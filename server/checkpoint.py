"""The server's checkpoint: one file after every round, written whole or not at all.

It holds the shared tensors, everything the server step needs (its own networks, descriptor, optimisers) and the
history. Random numbers are not stored: each round derives its own from the study's seed and the round's number.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsurg.errors import CheckpointError
from fedsurg.files import write_atomic
from fedsurg.sharing.contract import Contract
from fedsurg.sharing.update import Update
from fedsurg.tensor_file import read_tensors, write_tensors


@dataclass(frozen=True)
class ServerState:
    """After `round` (0: before the first): what is broadcast next, the server step's tensors, one record per round."""

    round: int
    shared: Update
    step: Mapping[str, Tensor] = field(default_factory=dict)
    history: tuple[dict[str, Any], ...] = ()
    finished: bool = False


class CheckpointStore:
    """The checkpoint of one run in a folder of the server.

    Args:
        folder: made when first written.
        study: digest of the study; a checkpoint of another one is refused.
        contract: of the method; likewise.
    """

    def __init__(self, folder: Path, study: str, contract: Contract) -> None:
        self.path = folder / "checkpoint.safetensors"
        self._history = folder.parent / "history.jsonl"
        self._study, self._contract = study, contract

    def save(self, state: ServerState) -> None:
        """Write the history as lines for people and programs, then the state.

        So the history is never behind: after a crash between the two, the repeated round replaces its line.

        Raises:
            CheckpointError: it cannot be written; the previous checkpoint is untouched.
        """
        tensors = {f"shared/{n}": torch.from_numpy(v.copy()) for n, v in state.shared.tensors.items()}
        tensors |= {f"step/{name}": value for name, value in state.step.items()}
        facts = {
            "study": self._study,
            "contract": self._contract.digest,
            "round": state.round,
            "history": list(state.history),
            "finished": state.finished,
        }
        lines = "".join(json.dumps(record) + "\n" for record in state.history)
        write_atomic(self._history, lines, error=CheckpointError)
        write_tensors(self.path, tensors, facts)

    def load(self) -> ServerState | None:
        """The last state; none when there is no checkpoint yet.

        Raises:
            CheckpointError: it is damaged, or of another study or contract.
        """
        if not self.path.exists():
            return None
        tensors, facts = read_tensors(self.path)
        for key, own in (("study", self._study), ("contract", self._contract.digest)):
            if facts.get(key) != own:
                raise CheckpointError(
                    f"{self.path}: belongs to another {key} ({facts.get(key)}, this one is {own}); "
                    "resume with the study and version it was made with, or choose another output folder"
                )
        lacking = [name for name in self._contract.shared if f"shared/{name}" not in tensors]
        if lacking:
            raise CheckpointError(f"{self.path}: lacks shared/{lacking[0]}; delete it or restore it from a backup")
        shared = {name: tensors[f"shared/{name}"].numpy() for name in self._contract.shared}
        step = {name.removeprefix("step/"): value for name, value in tensors.items() if name.startswith("step/")}
        return ServerState(
            int(facts["round"]), Update.of(shared), step, tuple(facts["history"]), bool(facts["finished"])
        )
