"""`fedsurg site adapt`: a finished shared model, fitted to a hospital that took no part in its training."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from torch import Tensor

    from fedsurg.study.config import Study
    from site_client.adaptation import Ward

_PATH = click.Path(path_type=Path)
_SAME = 48  # first characters of a digest; after them a simulation names its job


@click.command(epilog="Example: fedsurg site adapt study.toml global.safetensors --data ward-c --out model/")
@click.argument("study_file", metavar="STUDY.toml", type=_PATH)
@click.argument("model", metavar="MODEL", type=_PATH)
@click.option("--data", type=_PATH, required=True, help="The hospital's data folder.")
@click.option("--out", type=_PATH, required=True, help="Folder for the fitted model and its card.")
@click.option("--method", help="Of the study; default: its first one that keeps a part of the network at a site.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, ...")
def adapt(study_file: Path, model: Path, data: Path, out: Path, method: str | None, device: str) -> None:
    """Fit the private part of a finished shared MODEL to a few cases of a hospital that took no part in STUDY.toml.

    A guard decides whether the fitted model is used at all: each of the few cases is left out once, and if no number of
    steps is better on the left-out cases, MODEL stays as it is and nothing is written. A method that magnifies also
    tries frames that are enlarged until instruments look as wide as elsewhere. Nothing leaves this machine. The
    cases are the first of the data's train split, as many as the study's adaptation.cases; val and test cases are
    only scored, before and after.

    Exit code 0, whether the model was fitted or kept; 1: MODEL does not fit the study, or --out is taken; 2: the study
    has a mistake; 3: the data has, or has too few cases.
    """
    from fedsurg.data.magnification import MAGNIFICATION
    from fedsurg.tensor_file import read_tensors
    from site_client.adaptation import adapt as adapted_to
    from site_client.adaptation import few_cases
    from site_client.model_card import export_model, require_free

    require_free(out)
    ward = _ward(study_file, model, data, method, device)
    study, name = ward.study, ward.plan.method.name
    cases = few_cases(ward.site, study.adaptation.cases)
    click.echo(f"{ward.site.name}: {name} learns from {', '.join(cases)}, in {study.adaptation.steps} steps at most")
    result = adapted_to(ward)
    if not result.changed:
        click.echo(f"the shared model is kept: {result.reason}; use {model} as it is")
        return
    for split in ("val", "test"):
        if ward.site.cases(split):
            before = _iou(ward, split, ward.model, 1.0)
            after = _iou(ward, split, result.tensors, result.magnification)
            click.echo(f"{split} cases: mean IoU {before:.3f} before, {after:.3f} after")
    facts = {"adapted": f"{len(result.cases)} cases, {result.reason}", MAGNIFICATION: result.magnification}
    digest = str(read_tensors(model)[1].get("study", "not known"))  # of the study as it was run, start and all
    sha256, size = export_model(out, ward.site.name, study, digest, name, result.tensors, facts)
    click.echo(f"fitted: {result.reason}")
    click.echo(f"{out}: model.safetensors ({size:,} bytes, sha256 {sha256[:12]}) and README.md")


def _ward(study_file: Path, model: Path, data: Path, method: str | None, device: str) -> "Ward":
    """Everything that the adaptation works on, checked before the first step.

    Raises:
        StudyError: the study has a mistake, or no such method.
        ContractError: the method keeps nothing at a site.
        DataError: the data has a mistake.
        CheckpointError: MODEL cannot be read.
        NetworkError: MODEL is of another network, or the gate has no text vector for the hospital.
    """
    from fedsurg.data.check import check_pixels
    from fedsurg.data.site import load_site
    from fedsurg.errors import ContractError
    from fedsurg.learning.device import choose_device
    from fedsurg.methods.registry import plan
    from fedsurg.models.network import network_of
    from fedsurg.models.text import site_vectors
    from fedsurg.study_file.deployed import method_of
    from fedsurg.study_file.load import load_study
    from site_client.adaptation import Ward

    study = load_study(study_file, with_files=False)
    plans = [plan(study, name) for name in ([method_of(study, method, str(study_file))] if method else study.methods)]
    contracts = [each.contract(network_of(study)) for each in plans]
    found = [each for each, contract in zip(plans, contracts, strict=True) if contract.shared and contract.site]
    if not found:
        raise ContractError(
            f"{study_file}: none of {', '.join(each.method.name for each in plans)} shares one part of the network and "
            "keeps another at a site, so there is nothing to fit; use MODEL as it is, or a method such as fedst"
        )
    tensors = _shared_model(model, study, study_file)
    site = load_site(data, study.task)
    check_pixels(site)
    vector = None
    if found[0].has_gate:
        vector = site_vectors(study.network.gate, [(site.name, site.procedure)])[site.name]
    return Ward(found[0], tensors, site, vector, choose_device(device))


def _shared_model(model: Path, study: "Study", study_file: Path) -> dict[str, "Tensor"]:
    """The tensors of MODEL; a line on standard error where it says that it is of another study.

    Raises:
        CheckpointError: it cannot be read.
        NetworkError: it is of another network, or holds what no trained network does.
    """
    import torch

    from fedsurg.errors import NetworkError, StudyError
    from fedsurg.models.network import network_of
    from fedsurg.study.digest import study_digest
    from fedsurg.study_file.load import load_study
    from fedsurg.tensor_file import read_tensors

    tensors, facts = read_tensors(model)
    try:
        network_of(study).load_tensors(tensors, strict=True)
    except NetworkError as problem:
        raise NetworkError(f"{model}: is not a shared model of {study_file}: {problem}") from problem
    for name, value in tensors.items():
        if not (value.is_floating_point() and bool(torch.isfinite(value).all())):
            raise NetworkError(f"{model}: tensor {name!r} is not of finite numbers; get the file anew")
    said = str(facts.get("study", ""))[:_SAME]
    with contextlib.suppress(StudyError):  # without its start file or pictures a study's digest is not known here
        if said != study_digest(load_study(study_file))[:_SAME]:
            click.echo(f"note: {model} was not made by {study_file} as it is, though the network fits", err=True)
    return tensors


def _iou(ward: "Ward", split: str, tensors: Mapping[str, "Tensor"], magnification: float) -> float:
    """Mean IoU over the cases of a split of the network with these tensors, as a simulation scores its models."""
    import pandas as pd

    from fedsurg.learning.evaluate import finished_scores
    from fedsurg.learning.local import to_device
    from fedsurg.metrics.summary import case_means

    network = ward.private_network()
    network.load_tensors(tensors)
    to_device(network, ward.device)
    frames = ward.site.split(split)
    rows = finished_scores(ward.study, network, ward.site, frames, ward.device, magnification=magnification)
    return float(case_means(pd.DataFrame(rows).assign(site=ward.site.name))["iou"].mean())
