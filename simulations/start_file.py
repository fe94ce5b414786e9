"""From a study to a start file with its model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch

import fedsurg
from fedsurg.data.check import check_pixels
from fedsurg.errors import RunError, StudyError
from fedsurg.files import require_writable, sha256_of_file, write_atomic
from fedsurg.learning.device import choose_device
from fedsurg.learning.pretrain import start_digest
from fedsurg.models.network import count_parameters, network_of
from fedsurg.models.start_file import read_start, writable_network, write_start
from fedsurg.report.views import views_in_words
from fedsurg.report.wording import plural
from fedsurg.simulator.of_study import synthetic_request
from fedsurg.simulator.request import SIMULATOR_VERSION
from fedsurg.study.config import Study
from fedsurg.study.digest import PICTURE_FOLDERS, study_digest
from fedsurg.study.start import SHIPPED, start_path, with_start_digest
from fedsurg.study_file.simulated import check_server_video
from fedsurg.tensor_file import read_tensors
from simulations.preparation import start_of
from simulations.progress import Progress
from simulations.transfer import sites_to_score, transfer

_CARD = """\
# Start for surgical instruments, from simulated video

A network that was trained on {kind}, from which a federated study begins.

| | |
|---|---|
{rows}

Made by

```
{command}
```

which gives {again}.

## Intended use

Starting weights for fedsurg studies with the same classes and network (`server.pretrain.start`). Every method of a
study begins from the same file, and its SHA-256 is part of the study. Not a medical device: not for diagnosis, for
guidance or for any decision about a patient.

## Training data

{origin}

## On real sites

Instruments as a whole against everything else, on the validation cases of sites that this training has never seen:
per frame where an instrument is present or predicted, then per case, then per site. Choices about the simulator and
the training may have been made on these cases, so read them as an upper estimate.{views}

{transfer}

## Limitations

* {seen} Smoke, blood, swabs, needles, threads, specimen bags and implants may be taken for
  instruments or for background; instruments of kinds that the simulator does not draw are found worse.
* Thin and distant instruments are lost at the image size above.
* It says nothing about how sure it is, and its errors on real video are not random: whole cases can fail.
* Trained here on simulated anatomies only, it carries their assumptions about tissue, light and camera.
"""


_RENDERED = "Rendered by fedsurg's own simulator, images and labels alike."
_DRAWN = f"""\
{_RENDERED} No frame of a patient or an animal and no pictures of
others went into it."""
_FOREIGN = """
The encoder began at weights of others (`network.encoder_weights`, {what}): what they were trained on, this network has
learned from too, and their licence holds for it."""
_COMPOSED = """\
Made by fedsurg's own simulator from pictures that were given to it: {pictures}. If they are of patients, so is what
this network learned from; their owner decides who may have it."""
_OWN = "\nNo weights of others went into it."
_FROM_SHIPPED = """
It began at the start that came with fedsurg then (SHA-256 `{sha256}`):
trained on simulated video alone, and on no weights of others."""
_FROM_FILE = """
It began at another start (SHA-256 `{sha256}`):
what that one was trained on, this network has learned from too, and its licence holds for it."""


def make_file(
    study: Study,
    out: Path,
    card: Path,
    command: str,
    *,
    data: Path | None,
    device: str,
    cache: Path,
    progress: Progress,
) -> str:
    """Train the start of `study` (or take it from the cache), write it and its card; returns its SHA-256.

    Args:
        study: with [server.pretrain] and [synthetic] as the start is to be made.
        out: the start file.
        card: the model card, Markdown.
        command: that made it, for the card.
        data: folder of real sites on whose validation cases the card reports; none: no such numbers.
        device: name of the device, or auto.
        cache: of rendered video and starts.
        progress: shows what is being done.

    Raises:
        StudyError: the study trains no start.
        RunError: file or card cannot be written there; before anything is trained, like the next two.
        NetworkError: the start file that is to be trained further does not fit.
        DataError: `data` holds no site folder, or one without validation cases.
        FedsurgError: rendering, training, scoring or writing failed.
    """
    if not study.server.pretrain.training_steps:
        key = "further_steps" if study.server.pretrain.start else "steps"
        raise StudyError(f"{study.name}: server.pretrain.{key}: this study trains no start; set it above 0")
    _check_before(study, out, card, data)
    facts = training_facts(study)
    made = start_of(study, cache, device, progress.preparing)
    write_start(out, study, read_tensors(made)[0], facts)
    begun = _begun_from(study, out)
    scores = None
    if data:
        scores = transfer(begun, read_start(begun), data, choose_device(device), progress.preparing)
    digest = begun.server.pretrain.start_sha256
    write_atomic(card, model_card(study, facts, out, digest, command, choose_device(device), scores))
    return digest


def _check_before(study: Study, out: Path, card: Path, data: Path | None) -> None:
    """Training takes long: what would fail after it fails now."""
    writable_network(study)
    check_server_video(study)
    if card.resolve() == out.resolve():
        raise RunError(f"{out}: would hold both the start and its card; give --out a name that ends in .safetensors")
    for key in filter(None, (study.network.encoder_weights, study.network.gate.text_model)):
        if Path(key).expanduser().resolve() in (out.resolve(), card.resolve()):
            raise RunError(f"{key}: is a file that the study names, and would be replaced; give --out another name")
    if study.server.pretrain.start:
        begun = start_path(study.server.pretrain.start).resolve()
        if begun in (out.resolve(), card.resolve()):
            raise RunError(
                f"{begun}: is the start that is trained further, and would be replaced; give --out another name"
            )
        read_start(study)
    for file in (out, card):
        require_writable(file)
    for site in sites_to_score(data, study) if data else ():
        check_pixels(site)


def training_facts(study: Study) -> dict[str, Any]:
    """What made the start, as plain values without place or time: the same command gives the same file.

    One that was trained further says below `from` what made the file that it began at, which may say so in turn.
    """
    request, pretrain = synthetic_request(study), study.server.pretrain
    places = dict.fromkeys(PICTURE_FOLDERS, "")  # of pictures; their digests stay
    return {
        "study": study.name,
        "seed": study.seed,
        "pretrain": pretrain.model_dump(mode="json", exclude={"start"}),
        "encoder_weights": ""
        if pretrain.start
        else study.network.encoder_weights_sha256 or study.network.encoder_weights,
        "synthetic": study.synthetic.model_dump(mode="json") | places,
        "synthetic_digest": request.digest(),
        "simulator": SIMULATOR_VERSION,
        "digest": start_digest(study, request.digest()),
        "versions": {"fedsurg": fedsurg.__version__, "torch": torch.__version__},
        "from": read_tensors(start_path(pretrain.start))[1].get("training") if pretrain.start else None,
    }


def _begun_from(study: Study, file: Path) -> Study:
    """The study as it begins from `file`."""
    changes = {"start": str(file), "start_sha256": "", "further_steps": 0}
    pretrain = study.server.pretrain.model_copy(update=changes)
    server = study.server.model_copy(update={"pretrain": pretrain})
    return with_start_digest(study.model_copy(update={"server": server}), study.name)


def model_card(
    study: Study,
    facts: Mapping[str, Any],
    file: Path,
    digest: str,
    command: str,
    device: torch.device,
    scores: pd.DataFrame | None,
) -> str:
    """The card in Markdown.

    Args:
        study: that the start was trained under.
        facts: `training_facts` of the study.
        file: the start file.
        digest: its SHA-256.
        command: that made it.
        device: that it was trained on.
        scores: as `transfer` returns them; none: not measured.
    """
    pretrain, synthetic = study.server.pretrain, study.synthetic
    average = f", moving average of the weights (decay {pretrain.ema_decay:g})" if pretrain.ema_decay else ""
    optimiser = "Muon and AdamW" if pretrain.muon else "AdamW"
    height, width = study.task.image_size
    video = synthetic_request(study)
    origin = _origin(study, facts)
    table = {
        "file": f"`{file.name}`, {file.stat().st_size / 1e6:.2f} MB, float16 safetensors",
        "SHA-256": f"`{digest}`",
        "classes": ", ".join(study.task.classes),
        "network": f"{study.network.encoder} with a feature-pyramid decoder, "
        f"{sum(count_parameters(network_of(study)).values()):,} parameters; it sees colours as {study.network.colour}",
        "training data": f"{origin['kind']}: {synthetic.clips} clips of {synthetic.frames} frames at "
        f"{video.height} x {video.width}, anatomies {', '.join(dict.fromkeys(synthetic.profiles))}",
        "training": f"{pretrain.training_steps:,} steps of batch {pretrain.batch_size} at {height} x {width}, "
        f"{optimiser} at {pretrain.learning_rate:g}{average}; every key is in the file's metadata",
        "trained from": origin["began"],
        "seeds": f"{study.seed} (training), {synthetic.seed} (video)",
        "study": f"`{study.name}`, digest `{study_digest(study)}` in the version that made it",
        "versions": f"simulator {SIMULATOR_VERSION}, fedsurg {fedsurg.__version__}, torch {torch.__version__}",
        "computed on": f"{device.type}, {plural(torch.get_num_threads(), 'thread')}",
        "licence": origin["licence"],
    }
    rows = "\n".join(f"| {key} | {value} |" for key, value in table.items())
    again = "the same bytes on the same machine" if device.type == "cpu" else "nearly the same weights on the same GPU"
    again += " with the same versions"
    if pretrain.start:  # `shipped` is another file in another version
        again += f", where `server.pretrain.start` is the file with SHA-256 `{pretrain.start_sha256}`"
    measured = {"views": "" if scores is None else views_in_words(study), "transfer": _transfer_table(scores)}
    return _CARD.format(rows=rows, command=command, again=again, **measured, **origin)


def _origin(study: Study, facts: Mapping[str, Any]) -> dict[str, str]:
    """What the card says about where the training pictures, and weights that were there before, come from."""
    names = {"backgrounds": "photographs of tissue", "instruments": "instruments cut out of photographs"}
    given = [names[key] for key in PICTURE_FOLDERS if getattr(study.synthetic, key)]
    mixed = " with pictures in it" if given else ""
    before = _before(study, facts)
    if given:
        pictures = _COMPOSED.format(pictures=" and ".join(given))
    else:
        pictures = _RENDERED if before.others == "weights" else _DRAWN  # what another start has seen is not known
    common = {"origin": pictures + before.sentence, "began": before.weights}
    if not before.others:
        return common | {
            "kind": f"simulated surgical video{mixed or ' alone'}",
            "seen": f"It has never seen a real frame{' as it is' if given else ''}.",
            "licence": "Apache-2.0",
        }
    return common | {
        "kind": f"simulated surgical video{mixed}, from {before.weights}",
        "seen": f"In training here it has not seen a real frame; what its {before.others} saw, their makers know.",
        "licence": f"Apache-2.0, and that of the {before.others}",
    }


class _Before(NamedTuple):
    """What a training began at."""

    weights: str  # for a table
    others: str  # what of it is not fedsurg's own, in a word; empty: nothing
    sentence: str


def _before(study: Study, facts: Mapping[str, Any]) -> _Before:
    config, network = study.server.pretrain, study.network
    if config.start:
        steps = " + ".join(f"{count:,}" for count in _steps(facts.get("from")))
        weights = f"the start with SHA-256 `{config.start_sha256}`" + (f", steps before: {steps}" if steps else "")
        shipped = SHIPPED.exists() and config.start_sha256 == sha256_of_file(SHIPPED)
        sentence = (_FROM_SHIPPED if shipped else _FROM_FILE).format(sha256=config.start_sha256)
        return _Before(weights, "" if shipped else "weights", sentence)
    if not network.encoder_weights:
        return _Before("random weights", "", _OWN)
    sha256 = network.encoder_weights_sha256
    what = f"SHA-256 `{sha256}`" if sha256 else f"`{network.encoder_weights}` of a hub"
    return _Before("encoder weights of others", "encoder weights", _FOREIGN.format(what=what))


def _steps(facts: Mapping[str, Any] | None) -> list[int]:
    """The steps of each training that a start has had since random weights; nothing where a file does not say."""
    steps: list[int] = []
    while facts:
        pretrain, before = facts.get("pretrain", {}), facts.get("from")
        if pretrain.get("start_sha256") and not before:
            return []
        steps.insert(0, pretrain.get("further_steps") or pretrain.get("steps", 0))
        facts = before
    return steps


def _transfer_table(scores: pd.DataFrame | None) -> str:
    if scores is None:
        return "Not measured for this file: give the command `--data DIR`."
    lines = ["| site | IoU in % | Dice in % | cases | frames |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['site']} | {100 * row['iou']:.1f} | {100 * row['dice']:.1f} | {row['cases']} | {row['frames']} |"
        for row in scores.to_dict("records")
    ]
    lines.append(f"| mean | {100 * scores['iou'].mean():.1f} | {100 * scores['dice'].mean():.1f} | | |")
    return "\n".join(lines)
