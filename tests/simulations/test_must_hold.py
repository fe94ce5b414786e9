"""What must hold of a whole run; the other statements: `grep -rn must_hold tests`."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fedsurg.data.augment import Augmentation
from fedsurg.data.clips import ClipDataset
from fedsurg.data.loader import ClipLoader, PooledLoader
from fedsurg.data.site import load_site
from fedsurg.errors import FederationError, InterruptedRunError
from fedsurg.files import derived_seed
from fedsurg.learning.local import to_device
from fedsurg.learning.loss import LossWeights, SegmentationLoss
from fedsurg.methods import METHODS
from fedsurg.models import SegmentationNetwork, build_network
from fedsurg.models.text import site_vectors
from fedsurg.sharing.contract import Contract
from fedsurg.tensor_file import read_tensors
from simulations.bench import Bench
from simulations.job import Job
from simulations.run_job import run_job

MakeJob = Callable[..., Job]
Timeless = Callable[[Any], list[dict[str, Any]]]
SITES = ("north", "east")
FIRST_ROUND = "round-000001"  # file of the private state after it
FEDERATED = sorted(set(METHODS) - {"start", "central", "fedst"})  # fedst has a longer run of its own


def never() -> bool:
    return False


def contract_of(job: Job) -> Contract:
    return Bench(job).contract()


def personal(folder: Path, site: str) -> dict[str, Tensor]:
    return read_tensors(folder / "sites" / site / "personal.safetensors")[0]


def test_must_hold_2_private_tensors_differ_and_shared_ones_are_the_same(straight: Any) -> None:
    north, east = (personal(straight.folder, site) for site in SITES)
    server = read_tensors(straight.folder / "server" / "checkpoint.safetensors")[0]
    contract = contract_of(straight.job)
    assert len(contract.site) > 16
    assert len(contract.shared) > 100
    assert [name for name in contract.site if torch.equal(north[name], east[name])] == []
    for name in contract.shared:
        assert north[name].numpy().tobytes() == east[name].numpy().tobytes(), name
        assert north[name].numpy().tobytes() == server[f"shared/{name}"].numpy().tobytes(), name


@pytest.mark.parametrize("run_of", FEDERATED, indirect=True)
def test_must_hold_2_of_every_method(run_of: Any) -> None:
    """Private tensors differ between sites, shared ones are the server's; a personal model differs in every tensor."""
    north, east = (personal(run_of.folder, site) for site in SITES)
    server = read_tensors(run_of.folder / "server" / "checkpoint.safetensors")[0]
    contract = contract_of(run_of.job)
    own = {**contract.shared, **contract.site} if METHODS[run_of.job.method].own_model else contract.site
    assert [name for name in own if torch.equal(north[name], east[name])] == []
    for name in set(contract.shared) - set(own):
        assert north[name].numpy().tobytes() == east[name].numpy().tobytes(), name
        assert north[name].numpy().tobytes() == server[f"shared/{name}"].numpy().tobytes(), name


@pytest.mark.parametrize("run_of", FEDERATED, indirect=True)
def test_must_hold_3_of_every_method(run_of: Any, data: Path) -> None:
    assert len(run_of.messages) == 2 * len(SITES) * 2
    assert _leaks(_secrets(run_of, data), run_of.messages) == []


def test_must_hold_3_nothing_private_is_in_any_message(straight: Any, data: Path) -> None:
    assert len(straight.messages) == 2 * len(SITES) * 3  # there and back, two rounds and the last delivery
    assert _leaks(_secrets(straight, data), straight.messages) == []


def test_must_hold_3_the_search_would_find_a_leak(straight: Any) -> None:
    """What is shared is found by the same search, in the first message and in the last."""
    server = read_tensors(straight.folder / "server" / "checkpoint.safetensors")[0]
    sent = [("weight", _telling(server["shared/decoder.p5.weight"].numpy().tobytes())), ("name", b"north")]
    assert _leaks(sent, straight.messages[-4:]) == ["name", "weight"]
    assert _leaks(sent[:1], straight.messages[:4]) == []  # those of round 1 hold earlier values


def test_must_hold_3_nothing_private_is_in_the_servers_files(straight: Any, data: Path) -> None:
    files = [path.read_bytes() for path in (straight.folder / "server").iterdir()]
    files += [(straight.folder / "history.jsonl").read_bytes(), (straight.folder / "contract.json").read_bytes()]
    assert len(files) >= 4
    # The server has tensors of its own for the queries, and names of tensors are no secret.
    secrets = [(name, secret) for name, secret in _secrets(straight, data) if not name.startswith("name ")]
    assert _leaks(secrets, files) == []


def test_must_hold_3_an_error_says_nothing_of_paths_or_cases(
    make_job: MakeJob, own_data: Path, wire: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    broken = next((own_data / "north" / "images").iterdir())
    broken.write_bytes(b"no picture")
    job = make_job(hospitals=own_data, federation__quorum=2)
    with pytest.raises(FederationError, match="node 10: the site failed: DataError; its own log says why"):
        run_job(job, lambda record: None, never)
    assert str(broken) in caplog.text  # the site's own log
    assert _leaks([("class", b"DataError")], wire) == ["class"]
    secrets = (str(own_data), broken.name, "PATIENT", "no picture", "Traceback")
    assert _leaks([(secret, secret.encode()) for secret in secrets], wire) == []


def test_must_hold_5_without_a_target_it_is_local_training_then_server_fine_tuning(
    make_job: MakeJob, data: Path, synthetic: Path, start: Path
) -> None:
    """lambda_3 = 0, D = 0, one site: against loops of plain torch that know nothing of the federation."""
    job = make_job(
        sites=[{"name": "north", "procedure": "any"}],
        server__serq__lambda_3=0.0,
        server__serq__descriptor=False,
        server__serq__steps_global=2,
        local__steps=2,
    )
    run_job(job, lambda record: None, never)
    found = read_tensors(job.folder / "server" / "checkpoint.safetensors")[0]
    expected = _reference(job, data / "north", synthetic, start)
    own = personal(job.folder, "north")
    contract = contract_of(job)
    for name in contract.shared:
        torch.testing.assert_close(found[f"shared/{name}"], expected[name], rtol=0, atol=1e-6, msg=name)
    for name in contract.site:
        torch.testing.assert_close(own[name], expected[f"site {name}"], rtol=0, atol=1e-6, msg=name)
    begin = read_tensors(start)[0]
    assert (found["shared/head.weight"] - begin["head.weight"]).abs().max() > 1e-4  # it did learn


@pytest.mark.parametrize(("asked", "finished"), [(1, 0), (3, 1)])
def test_must_hold_8_stopped_and_resumed_equals_uninterrupted(
    straight: Any, make_job: MakeJob, timeless: Timeless, asked: int, finished: int
) -> None:
    """`stopped` is asked before each reply: between two sites of round 1, and of round 2."""
    job = make_job()
    calls = iter(range(1000))
    with pytest.raises(InterruptedRunError, match=f"stopped in round {finished + 1}; .*resume with --resume"):
        run_job(job, lambda record: None, lambda: next(calls) >= asked)
    assert not job.done
    run_job(job, lambda record: None, never)
    _assert_same(straight.folder, job.folder, timeless)


def test_must_hold_8_stopped_after_a_round(straight: Any, make_job: MakeJob, timeless: Timeless) -> None:
    job = make_job()
    rounds: list[int] = []
    with pytest.raises(InterruptedRunError, match="stopped in round 2"):
        run_job(job, lambda record: rounds.append(record["round"]), lambda: bool(rounds))
    assert rounds == [1]
    run_job(job, lambda record: rounds.append(record["round"]), never)
    assert rounds == [1, 2, 3]
    _assert_same(straight.folder, job.folder, timeless)


def _assert_same(one: Path, two: Path, timeless: Timeless) -> None:
    files = [
        "server/checkpoint.safetensors",
        "server/global.safetensors",
        *(f"sites/{site}/{name}" for site in SITES for name in _state_files(one / "sites" / site)),
    ]
    assert len(files) == 2 + 2 * 3
    for file in files:
        before, facts = read_tensors(one / file)
        after, other = read_tensors(two / file)
        assert [name for name in before if before[name].numpy().tobytes() != after[name].numpy().tobytes()] == [], file
        assert before.keys() == after.keys()
        assert timeless(facts.pop("history", ())) == timeless(other.pop("history", ()))
        assert facts == other
    lines = [[json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()] for run in (one, two)]
    assert timeless(lines[0]) == timeless(lines[1])
    assert (one / "scores.csv").read_text() == (two / "scores.csv").read_text()


def _state_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))


def _secrets(run: Any, data: Path) -> list[tuple[str, bytes]]:
    """What must not travel, each with a name: tensors before and after training, pictures, paths, cases."""
    found: list[tuple[str, bytes]] = []
    contract, method = contract_of(run.job), METHODS[run.job.method]
    # the average of one network is that network, whose shared tensors the site has just sent
    averaged = {f"{place}{name}" for name in contract.shared for place in ("own/", "")}
    sent = averaged if method.objective == "averaged" else set()
    of_one = (FIRST_ROUND, "personal") if run.job.study.federation.rounds == 1 else (FIRST_ROUND,)
    for site in SITES:
        found += [(f"name {name}", name.encode()) for name in contract.site]
        files = sorted((run.folder / "sites" / site).rglob("*.safetensors"))
        assert len(files) == 1 + run.job.study.federation.rounds
        for file in files:
            for name, value in read_tensors(file)[0].items():
                if not (file.stem in of_one and name in sent) and (name not in contract.shared or method.own_model):
                    found.append((f"{site} {file.name} {name}", _telling(value.numpy().tobytes())))
        found += _pictures(data / site)
        for case in set((data / site / "manifest.csv").read_text().split(",")):
            if case.startswith("PATIENT"):
                found.append((case, case.encode()))
    vectors = site_vectors(run.job.study.network.gate, [(s.name, s.procedure) for s in run.job.study.sites])
    found += [(f"vector of {name}", vector.numpy().tobytes()) for name, vector in vectors.items()]
    found += [("paths", str(data).encode()), ("run folder", str(run.folder).encode()), ("images", b".jpg")]
    found += [("masks", b"masks/"), ("site file", b"site.toml")]
    found = [(name, secret) for name, secret in found if len(secret) >= 4]
    assert len(found) > 1000
    return found


def _pictures(folder: Path) -> list[tuple[str, bytes]]:
    """The middle of each file, a row of its pixels, and the row as the network sees it."""
    found = []
    for path in sorted((folder / "images").iterdir()):
        content, pixels = path.read_bytes(), np.asarray(Image.open(path).convert("RGB"))
        row = pixels[32, 16:48]
        found.append((f"file {path.name}", content[len(content) // 2 :][:48]))
        found.append((f"name of {path.name}", path.name.encode()))
        found.append((f"pixels of {path.name}", _telling(row.tobytes())))
        found.append((f"red of {path.name}", _telling(row[:, 0].tobytes())))
        found.append((f"floats of {path.name}", _telling(row[:, 0].astype(np.float32).tobytes())))
        found.append((f"digest of {path.name}", hashlib.sha256(content).digest()))
    return found


def _telling(content: bytes) -> bytes:
    """32 bytes that do not occur by chance: no word is zero, most bytes differ. Empty: there are none."""
    for start in range(0, min(len(content), 4096) - 31, 4):
        window = content[start : start + 32]
        if len(set(window)) > 14 and all(window[word : word + 4] != bytes(4) for word in range(0, 32, 4)):
            return window
    return b""


def _leaks(secrets: list[tuple[str, bytes]], messages: list[bytes]) -> list[str]:
    """Names of the secrets that are in a message; a table of first words, as there are thousands of secrets."""
    table, first_words = np.zeros(1 << 24, bool), dict[int, list[tuple[str, bytes]]]()
    for name, secret in secrets:
        word = int.from_bytes(secret[:4], "little")
        table[word >> 8] = True
        first_words.setdefault(word, []).append((name, secret))
    found = set()
    for message in messages:
        for offset in range(4):
            words = np.frombuffer(message[offset : offset + (len(message) - offset) // 4 * 4], "<u4")
            for place in np.flatnonzero(table[words >> 8]):
                here = first_words.get(int(words[place]), ())
                found |= {name for name, secret in here if message.startswith(secret, 4 * int(place) + offset)}
    return sorted(found)


def _reference(job: Job, folder: Path, synthetic: Path, start: Path) -> dict[str, Tensor]:
    """The whole study by hand: two rounds of two local steps and two server steps."""
    study, begin, cpu = job.study, read_tensors(start)[0], torch.device("cpu")
    vector = site_vectors(study.network.gate, [("north", "any")])["north"]
    site = build_network(study.network, 4, text_vector=vector, adapters=True, seed=study.seed)
    server = build_network(study.network, 4, seed=study.seed)
    for network in (site, server):
        network.load_tensors(begin)
        to_device(network, cpu)
    weights = LossWeights(study.local.cross_entropy, study.local.jaccard)
    own, drawn = load_site(folder, study.task), load_site(synthetic, study.task)
    size = study.task.image_size
    mine = PooledLoader(
        [ClipDataset(own, own.split("train"), size, 1)], Augmentation(study.local.augmentation, size), 2
    )
    theirs = ClipLoader(
        ClipDataset(drawn, drawn.split("train"), size, 1), Augmentation(study.server.pretrain.augmentation, size), 2
    )
    here, there = (_adamw(network, rate) for network, rate in ((site, 1e-3), (server, 1e-3 * 0.1)))
    shared = [name for name, part in server.parts().items() if part != "query"]
    for number in (1, 2):
        local = [batch for _, batch in mine.batches(2, derived_seed(study.seed, "local", "north", number))]
        for step, batch in enumerate(local):
            _descend(site, here, SegmentationLoss(own.labels, weights), batch, 1e-3 * _cosine(2 * number - 2 + step))
        server.load_tensors({name: site.tensors()[name].detach() for name in shared})
        for step, batch in enumerate(theirs.batches(2, derived_seed(study.seed, "serq-b", number))):
            rate = 1e-4 * _cosine(2 * number - 2 + step)
            _descend(server, there, SegmentationLoss(drawn.labels, weights), batch, rate)
        site.load_tensors({name: server.tensors()[name].detach() for name in shared})
    tensors = {name: value.detach() for name, value in server.tensors().items()}
    return tensors | {f"site {name}": value.detach() for name, value in site.tensors().items()}


def _adamw(network: SegmentationNetwork, rate: float) -> torch.optim.AdamW:
    parameters = list(network.parameters())
    groups = [
        {"params": [value for value in parameters if value.ndim > 1], "weight_decay": 1e-2},
        {"params": [value for value in parameters if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, foreach=True)


def _descend(network: SegmentationNetwork, adamw: torch.optim.AdamW, loss: nn.Module, batch: Any, rate: float) -> None:
    network.train()
    adamw.zero_grad()
    loss(network(batch.frames).logits, batch.labels).backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    for group in adamw.param_groups:
        group["lr"] = rate
    adamw.step()


def _cosine(step: int) -> float:
    """Share of the rate at a step of four."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * step / 4)) / 2
