"""`fedsurg site doctor`: is this site ready to take part? One finding per check, ok or what to do.

A check is a function of the site. It returns a fact in a few words, or raises an error whose message says what is to be
done: the errors of the parts that it tries, or `ToDoError`. A check changes nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from fedsurg.errors import FedsurgError, debugging
from fedsurg.joining.clock import now
from site_client.doctor import folder, machine, network
from site_client.doctor.data import data
from site_client.doctor.finding import Finding, Site
from site_client.site_folder import read_membership

Check = Callable[[Site], str]

CHECKS: Mapping[str, Check] = {
    "versions": machine.versions,
    "folder": folder.modes,
    "leftovers": folder.leftovers,
    "socket": folder.socket,
    "disk": machine.disk,
    "memory": machine.memory,
    "device": machine.device,
    "data": data,
    "vault": folder.vault,
    "audit log": folder.audit_log,
    "approvals": folder.approvals,
    "certificate": folder.certificate,
    "proxy": network.proxy,
    "connection": network.connection,
    "clock": network.clock,
}


def examine(site_folder: Path, checks: Mapping[str, Check]) -> Iterator[Finding]:
    """Run the checks, in their order.

    Raises:
        JoiningError: the folder is no site's, or others may enter it.
    """
    site = Site(site_folder, read_membership(site_folder), now())
    return (_find(name, check, site) for name, check in checks.items())


def _find(name: str, check: Check, site: Site) -> Finding:
    try:
        return Finding(name, True, check(site))
    except FedsurgError as problem:
        return Finding(name, False, " ".join(str(problem).split()))
    except Exception as problem:  # one check that breaks must not hide the others
        if debugging():
            raise
        return Finding(name, False, f"unexpected {type(problem).__name__}: {problem} (--debug shows more; report it)")
