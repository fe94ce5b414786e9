"""A run folder with random numbers: three methods, two folds, four sites, one refusal, one NaN."""

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fedsurg.files import digest_of
from fedsurg.metrics.summary import COLUMNS
from fedsurg.report.overlays import draw_overlay
from fedsurg.study.config import SiteConfig, Study

RunMaker = Callable[..., Path]
CLASSES = ("background", "shaft", "wrist", "clasper")
SITES = {"north": 0.74, "harbour": 0.61, "valley": 0.68, "island": 0.33}  # the IoU that a site tends to
METHODS = {"fedst": 0.06, "fedst-lite": 0.04, "fedavg": 0.0, "local": -0.05}  # what a method adds to it
SECRET_CASE = "PAT-4711"  # every case of a real site is called so, with a number behind it
SECRET_PATH = "/srv/hospital/videos"


def make_run(
    path: Path,
    *,
    methods: tuple[str, ...] = ("fedst", "fedavg", "local"),
    folds: int = 2,
    rounds: int = 12,
    real_sites: tuple[str, ...] = ("valley",),
    finished: bool = True,
) -> Path:
    """Write a run folder below `path` and return it; the numbers depend on the arguments only."""
    draw = random.Random(11)
    study = _study(methods, folds, rounds)
    run = path / "run"
    simulated = sorted(set(SITES) - set(real_sites))
    _write(run / "run.json", _info(study, simulated, finished))
    for method in methods:
        for fold in range(folds or 1):
            folder = run / "runs" / (f"{method}-fold{fold}" if folds else method)
            _write(folder / "contract.json", _contract(method))
            lines = [json.dumps(_round(draw, method, number, rounds)) for number in range(1, rounds + 1)]
            (folder / "history.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
            if finished:
                table = _scores(draw, method, fold, folds or 1, real_sites)
                table.to_csv(folder / "scores.csv", index=False)
                _overlays(folder / "overlays", method, fold, real_sites)
    return run


@pytest.fixture
def run_maker(tmp_path: Path) -> RunMaker:
    """`make_run` in a folder of its own."""

    def make(**options: Any) -> Path:
        return make_run(tmp_path, **options)

    return make


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that tests share and do not change."""
    return make_run(tmp_path_factory.mktemp("finished"))


def _study(methods: tuple[str, ...], folds: int, rounds: int) -> Study:
    sites = tuple(
        SiteConfig(
            name=name,
            procedure="kidney resection",
            role="unseen" if name == "island" else "federated",
            folder=f"{SECRET_PATH}/{name}",
        )
        for name in SITES
    )
    return Study.model_validate(
        {
            "name": "demo",
            "methods": methods,
            "task": {"classes": CLASSES},
            "network": {"encoder_weights": f"{SECRET_PATH}/encoder.safetensors"},
            "federation": {"rounds": rounds},
            "evaluation": {"folds": folds, "bootstrap": 400},
            "sites": sites,
        }
    )


def _info(study: Study, simulated: list[str], finished: bool) -> dict[str, Any]:
    resolved = study.resolved()
    return {
        "study": resolved,
        "digest": digest_of(resolved),
        "versions": {"fedsurg": "0.1.0", "torch": "2.15.0", "monai": "1.6.1"},
        "machine": {"cpu": "Xeon 2.1 GHz", "cores": 2, "memory_gb": 23.5, "device": "cpu"},
        "command": f"fedsurg compare demo.toml --data {SECRET_PATH}",
        "engine": "inline",
        "started": "2026-03-02T09:14:00+00:00",
        "wall_s": 1312.4 if finished else None,
        "simulated_sites": simulated,
    }


def _contract(method: str) -> list[dict[str, Any]]:
    query = "shared" if method == "fedavg" else "site"
    decoder = {"fedst-lite": "site", "local": "site"}.get(method, "shared")
    parts = [
        *((f"encoder.stages.{i}.query.weight", "query", [32 * 2**i, 32 * 2**i], query) for i in range(4)),
        *((f"encoder.stages.{i}.key_value.weight", "encoder", [64 * 2**i, 32 * 2**i], "shared") for i in range(4)),
        ("temporal.lag", "temporal", [3, 64], "shared"),
        *((f"adapters.{i}.lora_a", "adapters", [4, 32], "site") for i in range(2)),
        ("gate.text", "gate", [384], "frozen"),
        *((f"decoder.blocks.{i}.weight", "decoder", [128, 256, 3, 3], decoder) for i in range(3)),
        ("head.weight", "head", [4, 128, 1, 1], decoder),
    ]
    return [
        {"name": name, "part": part, "shape": shape, "dtype": "float32", "bytes": 4 * math.prod(shape)}
        | {"scope": "site" if method == "local" and scope == "shared" else scope}
        for name, part, shape, scope in parts
    ]


def _round(draw: random.Random, method: str, number: int, rounds: int) -> dict[str, Any]:
    share = 1 - math.exp(-4 * number / rounds)
    sites: dict[str, Any] = {}
    for name, level in list(SITES.items())[:3]:
        iou = max(0.02, (level + METHODS[method]) * share + draw.gauss(0, 0.02))
        trained = {"loss": 1 - iou, "dice": 2 * iou / (1 + iou), "iou": iou}
        received = {key: value * 0.96 for key, value in trained.items()} if number > 1 else None
        seconds = {"train": 2.1, "validate": 0.6, "data": 0.2, "other": 0.1}
        loss = 1.1 - 0.8 * share + draw.gauss(0, 0.03)
        sites[name] = {
            "samples": 12,
            "received": received,
            "trained": trained,
            "train_loss": loss,
            "seconds": seconds,
        }
    refused = {}
    if method == "fedavg" and number == 3:
        del sites["harbour"]
        refused = {"harbour": f"frame {SECRET_PATH}/harbour/0007.png is unreadable"}
    server = {}
    if method.startswith("fedst"):
        decay = math.exp(-number / 4)
        server = {
            "serq_descriptor_loss": 0.2 + 0.5 * decay + draw.gauss(0, 0.01),
            "serq_global_loss": 0.3 + 0.4 * decay + draw.gauss(0, 0.01),
            "target_variance": 0.8 + 0.1 * decay,
        }
    size = {"fedavg": 20_664_720, "fedst": 20_327_824, "fedst-lite": 13_312_000, "local": 0}[method]
    seconds = {"sites": 9.0, "aggregate": 0.1, "server": 4.0 if server else 0.0, "checkpoint": 0.2}
    return {"round": number, "sites": sites, "refused": refused, "server": server} | {
        "bytes_out": size,
        "bytes_in": size and size + 512,
        "seconds": seconds,
    }


def _scores(draw: random.Random, method: str, fold: int, folds: int, real_sites: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for site, level in SITES.items():
        role, model = ("unseen", "global") if site == "island" else ("federated", "personal")
        if role == "unseen" and method == "local":
            continue  # no global model to test
        prefix = SECRET_CASE if site in real_sites else f"{site}-case"
        cases = range(6) if role == "unseen" else range(fold, 6, folds)
        for case in cases:
            ease = random.Random(f"{site}{case}").gauss(0, 0.05)
            for frame in range(3):
                for label in CLASSES[1:]:
                    iou = min(0.97, max(0.01, level + METHODS[method] + ease + draw.gauss(0, 0.03)))
                    absent = label == "clasper" and frame == 2
                    dice = 2 * iou / (1 + iou)
                    values = (dice, iou, 24 * (1 - iou), min(1.0, iou + 0.1), dice, iou)
                    if absent:
                        values = (math.nan,) * 4 + (1.0, 1.0)
                    place = (
                        method,
                        fold,
                        0,
                        site,
                        role,
                        model,
                        site not in real_sites,
                        f"{prefix}-{case}",
                        "a",
                    )
                    rows.append((*place, frame, label, *values))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _overlays(folder: Path, method: str, fold: int, real_sites: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    entries = []
    for site in SITES:
        if fold or (method == "local" and site == "island"):
            continue
        real = site in real_sites
        case = f"{SECRET_CASE}-0" if real else f"{site}-case-0"
        model = "global" if method == "local" or site == "island" else "personal"
        name = f"{case}-{model}-a-0.png"
        seed = list(SITES).index(site)
        Image.fromarray(draw_overlay(*_scene(seed, 1 + 2 * list(METHODS).index(method)), len(CLASSES))).save(
            folder / name
        )
        shown = {"case": case, "caption": f"{case}, frame 0", "simulated": not real}
        entries.append({"file": name, "site": site, "model": model, "position": 0, **shown})
    _write(folder / "overlays.json", entries)


def _scene(seed: int, slip: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tissue-coloured frame with a tool, its label, and a prediction that slips by some pixels."""
    height, width = 128, 160
    row, column = np.mgrid[0:height, 0:width].astype(float)
    waves = np.sin(row / (9 + seed)) + np.cos(column / 13 + seed) + np.sin((row + column) / 17)
    frame = np.stack([165 + 22 * waves, 78 + 16 * waves, 70 + 14 * waves], axis=-1)
    along, across = column - 20 - 6 * seed + row * 0.3, row - 30 - 9 * seed - column * 0.35
    label = np.zeros((height, width), np.int64)
    label[(np.abs(across) < 9) & (along < 75)] = 1
    label[(np.abs(across) < 7) & (along >= 75) & (along < 92)] = 2
    label[(np.abs(across) < 6) & (np.abs(across) > 2) & (along >= 92) & (along < 112)] = 3
    tool = label > 0
    frame[tool] = (np.array([178, 182, 188]) + 30 * np.cos(across / 5)[..., None])[tool]
    frame = frame + np.random.default_rng(seed).normal(0, 5, frame.shape)
    predicted = np.zeros_like(label)
    predicted[slip:, :-slip] = label[:-slip, slip:]
    return np.clip(frame, 0, 255).astype(np.uint8), label, predicted


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
