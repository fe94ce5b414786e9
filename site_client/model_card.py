"""A personalised model outside the vault: safetensors and a card that says what it is."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import fedsurg
from fedsurg.data.magnification import MAGNIFICATION
from fedsurg.errors import CheckpointError
from fedsurg.files import require_writable, write_atomic
from fedsurg.methods.registry import METHODS
from fedsurg.report.views import views_in_words
from fedsurg.study.config import Study
from fedsurg.tensor_file import tensor_bytes

MODEL, CARD = "model.safetensors", "README.md"

_CARD = """\
# Personalised model of {site}

Surgical instrument segmentation, made in the federated study `{name}` and fitted to this hospital.

| | |
|---|---|
{rows}

## What it does

For each pixel of a frame of {height} x {width} pixels it gives a score for {classes}.{views}
What the hospitals learned together and what this hospital learned for itself are both in the file: it works here best,
and it has learned from this hospital's frames. Treat the file like the frames it was trained on: handing it on is a
decision, not a copy.

## How it was made

Network `{encoder}`, method `{method}`, {rounds} rounds of {steps} local steps. The private part was trained at this
hospital alone and has left it in no message. {chosen}

## Limits

* Not a medical device: not for diagnosis, for guidance or for any decision about a patient.
* Fitted to the procedures, cameras and instruments of this hospital; check it on your own cases before any use.
* It says nothing about how sure it is, and its errors are not random: whole cases can fail.
* Like any trained network it can show something of its training frames to someone who probes it.
"""


def require_free(out: Path) -> None:
    """Refuse a folder that a model cannot be written to without writing something over.

    Raises:
        CheckpointError: it holds a model or a README, is no folder, or cannot be written.
    """
    taken = next((path for path in (out / MODEL, out / CARD) if path.exists()), None)
    if taken:
        raise CheckpointError(f"{taken}: exists; choose another --out")
    if out.exists() and not out.is_dir():
        raise CheckpointError(f"{out}: is no folder; choose another --out")
    require_writable(out / MODEL, error=CheckpointError)


def export_model(
    out: Path,
    site: str,
    study: Study,
    digest: str,
    method: str,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    announce: Callable[[str, int], None] = lambda sha256, size: None,
) -> tuple[str, int]:
    """Write the model and its card to the folder `out`; returns the model's SHA-256 and bytes.

    Args:
        out: the folder.
        site: name of the hospital.
        study: that the model is of.
        digest: of the study.
        method: of the study.
        tensors: of the model by canonical name.
        facts: of the model, see `model_card`.
        announce: told SHA-256 and bytes before the model is written; what it raises ends this.

    Raises:
        CheckpointError: the folder has a model already, or cannot be written.
    """
    require_free(out)
    magnification = facts.get(MAGNIFICATION, 1.0)
    content = tensor_bytes(tensors, {"study": digest, "site": site, "method": method, MAGNIFICATION: magnification})
    sha256 = hashlib.sha256(content).hexdigest()
    card = model_card(site, study, digest, method, tensors, facts, sha256)
    announce(sha256, len(content))
    write_atomic(out / MODEL, content, error=CheckpointError)
    write_atomic(out / CARD, card, error=CheckpointError)
    return sha256, len(content)


def model_card(
    site: str,
    study: Study,
    digest: str,
    method: str,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    sha256: str,
) -> str:
    """The card in Markdown. `facts` may say the best round and its score, where one was chosen (`round`, `iou`), or
    what a hospital that took no part fitted the shared model to (`adapted`), and how much frames are enlarged
    (`magnification`).
    """
    rows = {
        "study": f"`{study.name}`, digest `{digest}`",
        "file": f"`{MODEL}`, {sum(value.numel() for value in tensors.values()):,} parameters in {len(tensors)} tensors",
        "SHA-256": f"`{sha256}`",
        "version": f"fedsurg {fedsurg.__version__}",
    }
    chosen = _made(study, method)
    if "adapted" in facts:
        chosen = f"The hospital took no part in these rounds; its private part was fitted later ({facts['adapted']})."
    if "iou" in facts:
        own = f"{_made(study, method)} " if METHODS[method].own_model else ""
        chosen = (
            f"{own}It is the model of round {facts.get('round')}, the best on this hospital's validation cases "
            f"(mean IoU {100 * facts['iou']:.1f} %, by each pixel's likeliest label at one size, on the cases it was "
            "chosen by)."
        )
    height, width = study.task.image_size
    return _CARD.format(
        site=site,
        name=study.name,
        rows="\n".join(f"| {key} | {value} |" for key, value in rows.items()),
        height=height,
        width=width,
        views=views_in_words(study, facts.get(MAGNIFICATION, 1.0)),
        classes=", ".join(study.task.classes),
        encoder=study.network.encoder,
        method=method,
        rounds=study.federation.rounds,
        steps=study.local.steps,
        chosen=chosen,
    )


def _made(study: Study, method: str) -> str:
    """What the card says of how the method makes a site's model."""
    objective = METHODS[method].objective
    if objective == "personal":
        return "It is a model of the hospital's own, trained beside the shared one and held near it."
    if objective != "averaged":
        return "It is the model of the last round."
    share = study.local.start_share
    start = f", with {100 * share:g} % of the start, which no hospital has trained, in all that the start has"
    return (
        "It is the moving average of the networks that this hospital trained, as each was before it was sent"
        f"{start if share else ''}."
    )
