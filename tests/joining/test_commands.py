"""What people type, from the first command to the last, and one line for every refusal."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from fedsurg.cli.main import fedsurg as commands

Fedsurg = Callable[..., tuple[int, str, str]]
Done = Callable[[str], str]

HEAVY = ("torch", "flwr", "ray", "pandas", "numpy", "mitsuba")


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()


@pytest.fixture
def done(fedsurg: Fedsurg) -> Done:
    """Run a command that has nothing to complain of; its standard output."""

    def run(line: str) -> str:
        code, out, err = fedsurg(*line.split())
        assert (code, err) == (0, ""), line
        return out

    return run


def fingerprints(text: str) -> list[str]:
    """The fingerprints that a command showed, without their spaces."""
    return ["".join(found.split()) for found in re.findall(r"(?<![0-9a-f])((?:[0-9a-f]{4}\s+){16})", text)]


def test_from_the_first_command_to_the_last(done: Done) -> None:
    (authority,) = fingerprints(done("server init --host fl.example.org"))
    assert fingerprints(done("server invite hospital-a")) == [authority]
    shown, request = fingerprints(done(f"site enrol hospital-a.invite --data data --fingerprint {authority}"))
    assert shown == authority
    assert fingerprints(done(f"server admit hospital-a.request --fingerprint {request}")) == [request]
    joined = done("site join hospital-a.admission")
    assert "hospital-a joined the federation at fl.example.org:9443" in joined
    listed = done("server sites")
    assert "hospital-a: admitted" in listed
    assert fingerprints(listed) == fingerprints(joined)

    Path("hospital-a.request").unlink()
    (renewed,) = fingerprints(done("site renew"))
    answer = done("server admit hospital-a.request --out again.admission")
    assert "hospital-a renewed" in answer
    assert fingerprints(answer) == [renewed]
    done("site join again.admission")

    done("server invite hospital-b --expires 3")
    assert "hospital-a revoked: 2 certificates on the list" in done("server revoke hospital-a --reason lost")
    facts = json.loads(done("server sites --json"))
    assert (facts["address"], facts["authority"]) == ("fl.example.org:9443", authority)
    first, second = facts["sites"]
    assert (first["site"], first["state"], first["revoked"]["reason"]) == ("hospital-a", "revoked", "lost")
    assert [one["state"] for one in first["certificates"]] == ["revoked", "revoked"]
    assert (second["site"], second["state"], second["certificates"]) == ("hospital-b", "invited", [])
    assert "token" not in json.dumps(facts)
    assert "revoked at 20" in done("server sites")
    assert "gateway's certificate renewed" in done("server renew")


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        (
            "server init --host fl.example.org",
            4,
            "coordinator: exists already and is left as it is; choose another --dir",
        ),
        ("server init --host https://x --dir new", 4, "host 'https://x': not a name or address"),
        ("server init", 2, "Missing option '--host'"),
        ("server invite Hospital", 4, "site name 'Hospital': allowed are 1 to 64 small letters"),
        ("server invite hospital-a", 4, "hospital-a: invited already; to invite it anew"),
        ("server invite b --expires 0", 2, "0 is not in the range 1<=x<=365"),
        ("server invite b --dir none", 4, "none/federation.toml: no such file; make the federation with"),
        ("server admit none.request", 4, "none.request: cannot be read (No such file or directory); check the path"),
        (
            "server admit hospital-a.invite",
            4,
            "this is the invitation, not the request; give the file whose name ends in",
        ),
        ("server revoke nobody", 4, "nobody: no such site in coordinator"),
        ("server sites --dir none", 4, "none/federation.toml: no such file"),
        ("site enrol hospital-a.invite", 2, "Missing option '--data'"),
        ("site enrol hospital-a.invite --data none", 4, "--data none: no such folder"),
        ("site enrol hospital-a.invite --data data --fingerprint 12", 4, "has 64 of 0-9 and a-f, found 2 characters"),
        ("site join hospital-a.invite", 4, "site/federation.toml: no such file; enrol with fedsurg site enrol"),
        ("site renew", 4, "site/federation.toml: no such file; enrol with fedsurg site enrol"),
        ("site vault init", 4, "site/federation.toml: no such file; enrol with fedsurg site enrol"),
        ("site approvals", 4, "site/federation.toml: no such file; enrol with fedsurg site enrol"),
        ("site revoke 3f9a01c2", 4, "site/federation.toml: no such file; enrol with fedsurg site enrol"),
        ("site audit show", 1, "site/audit: holds no audit log; give the folder with --dir"),
    ],
)
def test_refusals_are_one_line(fedsurg: Fedsurg, done: Done, line: str, code: int, message: str) -> None:
    done("server init --host fl.example.org")
    done("server invite hospital-a")
    found, out, err = fedsurg(*line.split())
    assert (found, out) == (code, "")
    assert message in err
    assert code == 2 or err.count("\n") == 1
    assert {path.name for path in Path().iterdir()} == {"coordinator", "data", "hospital-a.invite"}


def test_enrolling_again_keeps_the_folder_and_its_request(fedsurg: Fedsurg, done: Done) -> None:
    done("server init --host fl.example.org")
    done("server invite hospital-a")
    done("site enrol hospital-a.invite --data data")
    request = Path("hospital-a.request").read_bytes()
    code, out, err = fedsurg("site", "enrol", "hospital-a.invite", "--data", "data")
    assert (code, out) == (4, "")
    assert "site: exists already and is left as it is; choose another --dir" in err
    assert Path("hospital-a.request").read_bytes() == request


def test_an_empty_federation_says_what_is_next(done: Done) -> None:
    done("server init --host 127.0.0.1 --dir fl")
    assert done("server sites --dir fl") == "no sites yet; run fedsurg server invite NAME\n"


@pytest.mark.parametrize(
    ("name", "ours"),
    [("server", ["init", "invite", "admit", "sites", "revoke", "renew"]), ("site", ["enrol", "join", "renew"])],
)
def test_every_command_has_help_with_an_example_and_its_exit_codes(name: str, ours: list[str]) -> None:
    group = commands.get_command(click.Context(commands), name)
    assert isinstance(group, click.Group)
    for inner in ours:
        command = group.get_command(click.Context(group), inner)
        assert command
        text = command.get_help(click.Context(command, info_name=inner))
        assert f"Example: fedsurg {name} {inner}" in " ".join(text.split())
        assert "Exit code 0:" in text


def test_joining_needs_neither_torch_nor_flower() -> None:
    words = ["server", "init", "--host", "fl.example.org"]
    code = (
        "import sys\nfrom fedsurg.cli import main\ntry:\n    main(sys.argv[1:])\n"
        f"except SystemExit as end:\n    print(end.code, [name for name in {HEAVY} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0 []"
