"""The command: help without torch, and errors of one line."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from fedsurg import errors
from fedsurg.cli import main
from fedsurg.cli.main import COMMANDS, LazyGroup

Fedsurg = Callable[..., tuple[int, str, str]]

HEAVY = ("torch", "timm", "peft", "flwr", "ray", "pandas", "numpy", "mitsuba", "matplotlib")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["simulate", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom fedsurg.cli import main\ntry:\n    main(sys.argv[1:])\n"
        f"except SystemExit as end:\n    print(end.code, [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_help_names_every_command(fedsurg: Fedsurg) -> None:
    code, out, _ = fedsurg("--help")
    assert code == 0
    assert all(name in out and text[:30] in out for name, (_, text) in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(name: str, fedsurg: Fedsurg) -> None:
    code, out, _ = fedsurg(name, "--help")
    assert code == 0
    assert out.startswith(f"Usage: fedsurg {name}")


def test_an_unknown_command(fedsurg: Fedsurg) -> None:
    code, _, err = fedsurg("simulat")
    assert code == 2
    assert err.startswith("fedsurg: No such command 'simulat'")
    assert err.endswith("; see fedsurg --help\n")
    assert err.count("\n") == 1
    group = LazyGroup(table=COMMANDS)
    assert group.get_command(click.Context(group), "simulat") is None


def test_a_group_lists_its_table_and_what_was_added() -> None:
    group = LazyGroup(name="site", table={"audit": ("site_client.study_cli:audit", "The log.")})
    group.add_command(click.Command("doctor", help="Is all well?"))
    shown = group.get_help(click.Context(group))
    assert group.list_commands(click.Context(group)) == ["audit", "doctor"]
    assert "The log." in shown and "Is all well?" in shown


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["study", "show", "none.toml"], 2, "fedsurg: none.toml: cannot be read ("),
        (["simulate", "none.toml"], 2, "fedsurg: none.toml: cannot be read ("),
        (["simulate", "--resume"], 1, "fedsurg: --resume needs --out, the folder of the run to go on with"),
        (["evaluate", "none", "--data", "none"], 1, "fedsurg: none: is no run folder ("),
        (["report", "none"], 1, "none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line(
    words: list[str],
    code: int,
    message: str,
    fedsurg: Fedsurg,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, err = fedsurg(*words)
    assert found == code
    assert message in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in out + err


def test_debug_shows_where_it_comes_from() -> None:
    for words in (["--debug", "study", "show", "none.toml"], ["study", "show", "none.toml", "--debug"]):
        with pytest.raises(errors.StudyError, match=r"none\.toml: cannot be read"):
            main(words)


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (errors.DataError("two\nlines"), 3, "fedsurg: two lines"),
        (errors.InterruptedRunError("stopped"), 130, "fedsurg: stopped"),
        (KeyboardInterrupt(), 130, "fedsurg: stopped"),
        (
            PermissionError(13, "Permission denied", "ward/site.toml"),
            1,
            "fedsurg: ward/site.toml: may not be read or written by you; check its permissions",
        ),
        (
            ZeroDivisionError("oops"),
            70,
            "fedsurg: unexpected ZeroDivisionError: oops (run again with --debug and report it)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_end_has_its_code(
    problem: BaseException, code: int, line: str, fedsurg: Fedsurg, monkeypatch: pytest.MonkeyPatch
) -> None:
    @click.command()
    def fail() -> None:
        raise problem

    monkeypatch.setattr(LazyGroup, "get_command", lambda self, ctx, name: fail)
    found, out, err = fedsurg("anything")
    assert (found, out, err.strip()) == (code, "", line)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(value, errors.FedsurgError) and value.exit_code > 0 for value in classes)
    assert all(value.__name__ in (errors.__doc__ or "") for value in classes)
