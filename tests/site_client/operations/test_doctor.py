"""Every check is ok at a site where all is well, and says what to do when its one thing is not."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest

from fedsurg.bundle import fedsurg_bundle
from fedsurg.errors import ClockError, ExposedError, JoiningError
from site_client.approvals import Approvals
from site_client.doctor import CHECKS, examine, machine
from site_client.doctor.finding import Finding, Site, ToDoError
from site_client.doctor.folder import MAX_SOCKET_PATH, socket
from site_client.enrolment import renew
from site_client.layout import VAULT_KEY
from site_client.site_folder import read_membership, write_membership

Examined = Callable[[str], Finding]
Fedsurg = Callable[..., tuple[int, str, str]]

# What can be told without a gateway, a GPU or another machine.
STEADY = {name: CHECKS[name] for name in ("folder", "socket", "data", "vault", "audit log", "approvals", "certificate")}


def test_a_site_where_all_is_well(folder: Path) -> None:
    findings = list(examine(folder, STEADY))
    assert [finding.check for finding in findings if not finding.ok] == []
    said = {finding.check: finding.line for finding in findings}
    assert said["data"] == "train 3 cases, 3 frames; val 2 cases, 2 frames"
    assert said["vault"] == "opens, 0 studies in it"
    assert said["approvals"].startswith("none open")


def test_the_command_says_ok_or_what_to_do_and_so_does_its_exit_code(
    folder: Path, fedsurg: Fedsurg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("site_client.doctor.CHECKS", STEADY)
    code, out, _ = fedsurg("site", "doctor", "--dir", folder)
    assert code == 0
    assert out.splitlines()[-1] == f"all {len(STEADY)} ok"
    (folder / VAULT_KEY).rename(folder / "elsewhere.key")
    code, out, _ = fedsurg("site", "doctor", "--dir", folder)
    assert code == 1
    assert [line for line in out.splitlines() if line.startswith("TO DO  vault")]
    assert out.splitlines()[-1] == f"1 of {len(STEADY)} to do"
    code, out, _ = fedsurg("site", "doctor", "--dir", folder, "--json")
    facts = json.loads(out)
    assert (code, facts["ok"]) == (1, False)
    assert [one["check"] for one in facts["checks"] if not one["ok"]] == ["vault"]


def test_a_folder_that_is_no_sites(tmp_path: Path, fedsurg: Fedsurg) -> None:
    code, _, err = fedsurg("site", "doctor", "--dir", tmp_path / "nothing")
    assert code == 4
    assert "enrol with fedsurg site enrol" in err


def test_a_check_that_breaks_hides_no_other(folder: Path) -> None:
    def broken(_: Site) -> str:
        raise ZeroDivisionError("what")

    first, second = examine(folder, {"broken": broken, "fine": lambda _: "fine"})
    assert (first.ok, second.ok) == (False, True)
    assert "ZeroDivisionError" in first.line


def test_keys_that_others_may_read(folder: Path, examined: Examined) -> None:
    (folder / "private" / "node.key").chmod(0o640)
    found = examined("folder")
    assert not found.ok
    assert "chmod 600" in found.line


def test_the_folder_itself_open_to_others_ends_the_command(folder: Path) -> None:
    folder.chmod(0o755)
    with pytest.raises(ExposedError, match="chmod 700"):
        list(examine(folder, STEADY))


def test_too_few_cases_for_the_policy(
    data_folder: Path, examined: Examined, write_manifest: Callable[..., None]
) -> None:
    write_manifest(data_folder, "train", "train", "val", "val")
    found = examined("data")
    assert not found.ok
    assert "2 cases to train on, the policy asks for 3" in found.line


def test_too_few_cases_for_scores_is_said_and_no_fault(
    data_folder: Path, examined: Examined, write_manifest: Callable[..., None]
) -> None:
    write_manifest(data_folder, "train", "train", "train", "val")
    found = examined("data")
    assert found.ok
    assert found.line.endswith("too few val cases for scores to leave")


def test_the_data_folder_is_gone(data_folder: Path, folder: Path, examined: Examined) -> None:
    data_folder.rename(data_folder.with_name("elsewhere"))
    found = examined("data")
    assert not found.ok
    assert found.line.endswith(f"no such folder; bring it back, or change data in {folder / 'federation.toml'}")


def test_a_file_of_the_data_is_gone(data_folder: Path, examined: Examined) -> None:
    (data_folder / "1.png").unlink()
    (data_folder / "2.png").unlink()
    found = examined("data")
    assert not found.ok
    assert "'1.png' does not exist" in found.line
    assert f"(1 more: fedsurg data check {data_folder})" in found.line


@pytest.mark.parametrize("check", ["vault", "audit log", "approvals"])
def test_damaged_files(folder: Path, examined: Examined, check: str) -> None:
    assert examined(check).ok
    damaged = {
        "vault": folder / "vault" / "vault.json",
        "audit log": next((folder / "audit").glob("*.jsonl")),
        "approvals": folder / "policy.toml",
    }[check]
    damaged.write_text("{}\n")
    found = examined(check)
    assert not found.ok
    assert str(damaged) in found.line or str(folder / check) in found.line


def test_no_vault_yet(folder: Path, examined: Examined) -> None:
    (folder / "vault").rename(folder / "away")
    assert "fedsurg site vault init" in examined("vault").line


def test_an_approval_that_waits_for_a_second_person(
    folder: Path, examined: Examined, tiny_study: Callable[..., object]
) -> None:
    Approvals(folder).approve(tiny_study(), "fedst", "0" * 64, "A. Keller", expires=date.max)  # type: ignore[arg-type]
    assert examined("approvals").line == "open: tiny until 9999-12-31"
    (folder / "policy.toml").write_text("two_approvers = true\n")
    found = examined("approvals")
    assert not found.ok
    assert "--second-approver" in found.line


def test_a_certificate_near_its_end(folder: Path, examined: Examined, now: datetime, tmp_path: Path) -> None:
    assert examined("certificate").ok
    write_membership(folder, read_membership(folder).model_copy(update={"renew_from": now - timedelta(days=1)}))
    assert "run fedsurg site renew" in examined("certificate").line
    renew(folder, tmp_path / "b.request", now)
    assert "fedsurg site join" in examined("certificate").line


def test_a_certificate_that_has_ended(folder: Path) -> None:
    later = Site(folder, read_membership(folder), datetime.now(UTC) + timedelta(days=400))
    with pytest.raises(Exception, match="ended at"):
        CHECKS["certificate"](later)


def test_before_joining(folder: Path, examined: Examined) -> None:
    (folder / "private" / "identity.pem").unlink()
    assert "run fedsurg site join" in examined("certificate").line


def test_the_longest_path_of_a_socket(folder: Path) -> None:
    def of(length: int) -> Site:
        base = Path("/" + "x" * (length - len("/run/worker.sock") - 1))
        return Site(base, read_membership(folder), datetime.now(UTC))

    assert socket(of(MAX_SOCKET_PATH)).startswith("path of 107 bytes")
    with pytest.raises(ToDoError, match="1 bytes too long"):
        socket(of(MAX_SOCKET_PATH + 1))


def test_little_room(folder: Path, examined: Examined, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "FREE_DISK", 1 << 62)
    assert "free some space" in examined("disk").line
    monkeypatch.setattr(machine, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\nMemAvailable:  8388608 kB\n")
    assert examined("memory") == Finding("memory", True, "8.0 GiB free")
    (tmp_path / "memory.max").write_text(f"{3 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{1 << 30}\n")
    assert "2.0 GiB of memory free" in examined("memory").line


def test_versions_that_do_not_fit(examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["flwr>=1.41", 'av>=14; extra == "video"'])
    assert examined("versions").ok
    assert f"app {fedsurg_bundle().sha256[:12]}" in examined("versions").line
    monkeypatch.setattr(metadata, "requires", lambda _: ["flwr>=99"])
    assert "needed is >=99" in examined("versions").line
    monkeypatch.setattr(metadata, "requires", lambda _: ["no-such-thing>=1"])
    assert "no-such-thing is missing" in examined("versions").line


@pytest.mark.parametrize(
    ("environment", "ok", "line"),
    [
        ({}, True, "none (federation.toml and HTTPS_PROXY name none for the gateway)"),
        ({"HTTPS_PROXY": "http://me:secret@proxy.example.org:3128"}, True, "goes through proxy.example.org:3128"),
        ({"https_proxy": "proxy.example.org"}, True, "goes through proxy.example.org:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost"}, True, "none (federation.toml"),
        ({"HTTPS_PROXY": "socks5://me:secret@proxy:1080"}, False, "HTTPS_PROXY: not a proxy"),
    ],
)
def test_proxies(
    examined: Examined, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], ok: bool, line: str
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = examined("proxy")
    assert (found.ok, line in found.line, "secret" in found.line) == (ok, True, False)


@pytest.mark.parametrize(
    ("answer", "connection", "clock"),
    [
        ("localhost:9443 answers, in 8 ms", (True, "in 8 ms"), (True, "as the coordinator's")),
        (JoiningError("nobody listens there"), (False, "nobody listens"), (True, "not compared")),
        (ClockError("the clock is 9 s ahead"), (True, "localhost:9443 answers"), (False, "9 s ahead")),
    ],
)
def test_the_gateway_is_asked_once(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: str | JoiningError,
    connection: tuple[bool, str],
    clock: tuple[bool, str],
) -> None:
    asked = []

    def check(where: Path) -> str:
        asked.append(where)
        if isinstance(answer, JoiningError):
            raise answer
        return answer

    monkeypatch.setattr("site_client.connection.check_connection", check)
    found = examine(folder, {name: CHECKS[name] for name in ("connection", "clock")})
    for finding, (ok, line) in zip(found, (connection, clock), strict=True):
        assert (finding.ok, line in finding.line) == (ok, True)
    assert asked == [folder]


def test_a_driver_that_torch_cannot_use(examined: Examined, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path / "version")
    assert examined("device").line.startswith("processor, ")
    (tmp_path / "version").touch()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "install torch for this driver" in examined("device").line
