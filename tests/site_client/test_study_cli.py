"""The hospital's commands around a study: review, approve, approvals, revoke, the vault, export."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from fedsurg.audit import AuditLog
from fedsurg.audit.log import read_events
from fedsurg.errors import AuditError, StudyError, SupervisionError
from fedsurg.study.digest import study_digest
from fedsurg.study_file.load import load_study
from fedsurg.supervision.lock import SupervisorLock
from fedsurg.tensor_file import read_tensors
from site_client import cli
from site_client.approvals import Approval, Approvals
from site_client.layout import RUN
from site_client.site_folder import Membership, write_membership
from site_client.vault import open_vault


def enrolled(folder: Path, name: str) -> None:
    """A site's folder, as far as these commands look."""
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    facts = {"data": "/data", "host": "fl.example.org", "port": 9443, "authority": "ab" * 32}
    write_membership(folder, Membership(site=name, **facts))


def test_the_commands(tiny_text: str, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        found = CliRunner().invoke(cli.site, [*words, "--dir", str(folder)], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    folder, file = tmp_path / "site", tmp_path / "study.toml"
    enrolled(folder, "north")
    file.write_text(tiny_text.replace("[server.pretrain]", '[server.pretrain]\nstart = "shipped"'))
    text = run("review", str(file))
    assert "marks background, shaft, wrist, clasper in pictures of 64 x 64 pixels" in text
    assert "What stays: frames, masks, file and case names" in text
    assert "machine: 2 rounds of 1 step, each on\n  2 clips." in text
    assert "Scores are means over all frames of the validation cases." in text
    assert "Taking part: north, east.\n" in text  # the unseen one trains nothing
    # twice the deadline of 3600 s, for two rounds and the delivery
    assert "answered, after\n  60 minutes at the latest" in text and "\n  6 hours at most" in text
    facts = json.loads(run("review", str(file), "--json"))
    assert f"Digest of the study     {facts['digest']}" in text
    leaves = facts["leaves"]
    assert sum(row["bytes"] for row in leaves["groups"]) == leaves["bytes_per_round"]
    assert sum(row["tensors"] for row in leaves["groups"]) == len(leaves["tensors"])
    assert all(row["name"] in run("review", str(file), "--tensors") for row in leaves["tensors"][:1])
    assert "no study is approved here" in run("approvals")
    assert "method fedst: approved" in run("approve", str(file), "--approver", "A. Vogel", "--max-rounds", "1")
    (row,) = json.loads(run("approvals", "--json"))
    assert (row["study"], row["contract"], row["state"]) == (facts["digest"], facts["contract"], "approved")
    assert "revoked; from now on no request is answered, and nothing leaves" in run("revoke", facts["digest"][:8])
    assert "revoked" in run("approvals")
    events = [json.loads(line)["what"] for line in run("audit", "show", "--json").splitlines()]
    assert events == ["study approved", "study revoked"]
    changed = file.read_text().replace("rounds = 2", "rounds = 3\ndeadline_s = 310")
    file.write_text(f"{changed}\n[evaluation]\nmax_frames = 1\n")
    text = run("review", str(file))
    assert "6 minutes at the latest" in text and "\n  42 minutes at most" in text  # 41.3 minutes
    assert "Scores are means over 1 frame at most of the validation cases." in text


@pytest.mark.parametrize(
    ("method", "own"), [("fedavg", False), ("fedavg-own", True), ("fedst-own", True), ("ditto", True)]
)
def test_the_review_names_all_that_stays(tiny_text: str, tmp_path: Path, method: str, own: bool) -> None:
    folder, file = tmp_path / "site", tmp_path / "study.toml"
    enrolled(folder, "north")
    text = tiny_text.replace("[server.pretrain]", '[server.pretrain]\nstart = "shipped"')
    file.write_text(text.replace('["fedst"]', f'["{method}"]'))
    words = ["review", str(file), "--dir", str(folder)]
    text, facts = (
        CliRunner().invoke(cli.site, [*words, *more], catch_exceptions=False).stdout for more in ([], ["--json"])
    )
    stays = json.loads(facts)["stays"]
    assert ("a model of this hospital's own" in text) == own
    assert ("can be worked out by who receives that" in text) == method.endswith("-own")
    assert stays["bytes"] == sum(row["bytes"] for row in stays["groups"]) + stays["own_model_bytes"]
    assert (stays["own_model_bytes"] > json.loads(facts)["leaves"]["bytes_per_round"] / 2) == own
    assert ("This method has no private weights." in text) == (method == "fedavg")
    assert ("Frames may be enlarged, up to 2 times" in text) == (method in ("fedavg-own", "fedst-own"))


@pytest.mark.parametrize("command", ["review", "approve"])
@pytest.mark.parametrize(
    ("site", "start", "words", "message"),
    [
        (
            "north",
            "",
            [],
            r"study\.toml: server\.pretrain\.start: is empty, but all ends must begin",
        ),
        ("west", "shipped", [], r"study\.toml: sites: 'west' is not among the sites that train \(north, east\)"),
        ("harbour", "shipped", [], r"study\.toml: sites: 'harbour' is not among the sites that train"),
        ("north", "shipped", ["--method", "central"], r"methods: 'central' cannot run between hospitals"),
    ],
)
def test_studies_that_cannot_run_here(
    tiny_text: str, tmp_path: Path, command: str, site: str, start: str, words: list[str], message: str
) -> None:
    text = tiny_text.replace('methods = ["fedst"]', 'methods = ["fedst", "central"]')
    (tmp_path / "study.toml").write_text(text.replace("[server.pretrain]", f'[server.pretrain]\nstart = "{start}"'))
    enrolled(tmp_path / "site", site)
    done = CliRunner().invoke(
        cli.site, [command, str(tmp_path / "study.toml"), "--dir", str(tmp_path / "site"), *words]
    )
    assert isinstance(done.exception, StudyError)
    assert re.search(message, str(done.exception))
    assert not (tmp_path / "site" / "approvals").exists()


def test_a_start_file_is_found_again_from_elsewhere(
    tiny_text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The approval keeps its whole path; the digest, which is of its bytes, is the coordinator's."""
    (tmp_path / "own.safetensors").write_bytes(b"any")
    (tmp_path / "study.toml").write_text(
        tiny_text.replace("[server.pretrain]", '[server.pretrain]\nstart = "own.safetensors"')
    )
    enrolled(tmp_path / "site", "north")
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(cli.site, ["approve", "study.toml", "--dir", "site"], catch_exceptions=False)
    digest = study_digest(load_study(tmp_path / "study.toml"))
    approved = Approvals(tmp_path / "site").study(digest)
    assert approved.server.pretrain.start == str(tmp_path / "own.safetensors")


def test_what_cannot_be_logged_is_not_done(
    tiny_text: str, tmp_path: Path, approve: Callable[..., Approval], log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*words: str) -> None:
        done = CliRunner().invoke(cli.site, [*words, "--dir", str(tmp_path)])
        assert isinstance(done.exception, AuditError), done.output

    enrolled(tmp_path, "north")
    study = tmp_path / "study.toml"
    study.write_text(tiny_text.replace("[server.pretrain]", '[server.pretrain]\nstart = "shipped"'))
    digest = approve().study
    CliRunner().invoke(cli.site, ["vault", "init", "--dir", str(tmp_path)], catch_exceptions=False)
    open_vault(tmp_path / "vault", log).files(digest, "north").write("personal", {"a": torch.ones(2)}, {})
    before = len(Approvals(tmp_path).all())

    def full(*_event: object, **_who: object) -> None:
        raise AuditError("audit: no space left")

    monkeypatch.setattr(AuditLog, "append", full)
    fails("approve", str(study))
    assert len(Approvals(tmp_path).all()) == before
    fails("export", "--study", digest[:8], "--out", str(tmp_path / "model"))
    assert not (tmp_path / "model" / "model.safetensors").exists()


def test_export(tmp_path: Path, approve: Callable[..., Approval], log: AuditLog) -> None:
    def run(*words: str, fails: type[Exception] | None = None) -> Any:
        found = CliRunner().invoke(cli.site, [*words, "--dir", str(tmp_path)])
        if fails is None or not isinstance(found.exception, fails):
            assert found.exception is None, found.output
        return found

    digest = approve().study
    enrolled(tmp_path, "north")
    assert "keep a copy elsewhere" in run("vault", "init").stdout
    files = open_vault(tmp_path / "vault", log).files(digest, "north")
    files.write(
        "personal", {"head.weight": torch.ones(2, 3)}, {"study": digest, "iou": 0.61, "round": 2, "magnification": 1.5}
    )
    assert run("vault", "check").stdout.splitlines() == [digest, "ok: every file opens"]
    out = tmp_path / "model"
    assert run("export", "--study", digest[:8], "--out", str(out)).exit_code == 0
    tensors, facts = read_tensors(out / "model.safetensors")
    assert (tensors["head.weight"].sum(), facts["site"], facts["magnification"]) == (6.0, "north", 1.5)
    card = (out / "README.md").read_text()
    assert "frames are also shown 1.5 times as large" in card
    assert "Use the mean of the network's probabilities on the frame at 64 x 64 and 96 x 96 pixels" in card
    assert f"digest `{digest}`" in card
    assert "6 parameters in 1 tensors" in card
    assert "the model of round 2, the best on this hospital's validation cases (mean IoU 61.0 %" in card
    *_, event = read_events(log.folder)
    assert (event["what"], event["sha256"] in card) == ("model exported", True)
    lock = SupervisorLock(tmp_path / RUN)
    refused = run("vault", "rekey", "--new-key-file", str(tmp_path / "new.key"), fails=SupervisionError)
    assert "run fedsurg site stop first" in str(refused.exception)
    lock.release()
    moved = run("vault", "rekey", "--new-key-file", str(tmp_path / "new.key"))
    assert "2 files are sealed under the new key" in moved.stdout
    assert run("vault", "forget", digest[:8], "--yes").exit_code == 0
    assert run("vault", "check").stdout == "ok: every file opens\n"
