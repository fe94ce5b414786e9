"""The rounds of a run as TensorBoard event files, one folder per method and fold."""

import shutil
from pathlib import Path

from fedsurg.report.records import Round
from fedsurg.report.run_folder import Run

FOLDER = "tensorboard"


def write_events(run: Path) -> Path:
    """Write `RUN/tensorboard/METHOD[-foldK]`, replacing what an earlier call wrote, and return the folder.

    Tags are `iou/SITE`, `dice/SITE` and `loss/SITE` of the trained model on validation cases,
    `received_iou/SITE` of the one that arrived, `train_loss/SITE`, `server/...`, `bytes/...`, `seconds/...`.

    Raises:
        RunError: the folder is no run, or a file in it is damaged.
    """
    from torch.utils.tensorboard.writer import SummaryWriter  # a second to import

    content = Run.read(run)
    folder = run / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # a second event file beside the first would draw every curve twice
    for one in content.runs:
        with SummaryWriter(str(folder / one.folder.name)) as writer:
            for entry in one.rounds:
                for tag, value in sorted(_scalars(entry).items()):
                    writer.add_scalar(tag, value, entry.round)
    return folder


def _scalars(entry: Round) -> dict[str, float]:
    """Tag to value; what a round did not measure is left out."""
    found: dict[str, float | None] = {"bytes/to_a_site": entry.bytes_out, "bytes/from_a_site": entry.bytes_in}
    found["sites/refused"] = len(entry.refused)
    for site, result in entry.sites.items():
        found |= {f"{name}/{site}": value for name, value in (result.trained or {}).items()}
        found |= {f"received_{name}/{site}": value for name, value in (result.received or {}).items()}
        found[f"train_loss/{site}"] = result.train_loss
    found |= {f"server/{name}": value for name, value in entry.server.items()}
    found |= {f"seconds/{name}": value for name, value in entry.seconds.items()}
    return {tag: value for tag, value in found.items() if value is not None}
