"""A trial of the connection, for `fedsurg site doctor`."""

import asyncio
import json
import time
from datetime import datetime
from pathlib import Path

import aiohttp

from fedsurg.errors import ClockError, JoiningError
from fedsurg.joining.clock import now
from fedsurg.relay import HELLO, REFUSED, STALL_SECONDS, RefusedError, read_answer
from site_client.connection.explain import failed
from site_client.connection.route import Route, route_of, shown_identity
from site_client.site_folder import read_identity, read_membership

ANSWER_BYTES = 64 << 10
AHEAD_SECONDS = 5.0  # Flower takes no signature from further in the future
CLOSING_SECONDS = 0.25  # that a TLS connection needs to close before its loop ends; aiohttp does not wait for it
BEHIND_SECONDS = 300.0  # nor one that is older


def check_connection(folder: Path) -> str:
    """Ask the gateway for its own page, with this site's certificate; says where it is and how long it took.

    Raises:
        ClockError: the gateway answers, and its clock is too far from this machine's.
        JoiningError: in one line, what is wrong on the way: name, network, proxy, TLS, certificate, revocation.
    """
    membership = read_membership(folder)
    identity = read_identity(folder, membership.site, now())
    route = route_of(membership)
    return asyncio.run(_trial(folder, route, identity.certificate.not_valid_after_utc))


async def _trial(folder: Path, route: Route, ends: datetime) -> str:
    context = shown_identity(folder, lambda _: None).get().context
    relay = route.relay()
    begun = time.monotonic()
    try:
        async with asyncio.timeout(STALL_SECONDS), await relay.ask("GET", HELLO, context=context) as answer:
            asked, content = time.time(), await read_answer(answer, ANSWER_BYTES)
            refused, status = answer.headers.get(REFUSED), answer.status
    except (aiohttp.ClientError, OSError, TimeoutError) as problem:
        raise failed(problem, route, now(), ends) from problem
    except RefusedError as refusal:
        raise JoiningError(f"{route}: {refusal.why}; is it the gateway that is there?") from refusal
    finally:
        await relay.close()
        await asyncio.sleep(CLOSING_SECONDS)
    facts = _facts(content)
    if refused or status != 200:
        raise JoiningError(f"{route}: the gateway refused: {facts.get('detail', f'HTTP {status}')}")
    ahead = asked - float(facts.get("time", asked))
    if not -BEHIND_SECONDS < ahead < AHEAD_SECONDS:
        raise ClockError(
            f"the clock of this machine is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the "
            f"coordinator's; at most {AHEAD_SECONDS:.0f} s ahead or {BEHIND_SECONDS:.0f} s behind: use a time service"
        )
    return f"{route} answers as this federation's gateway, in {1000 * (time.monotonic() - begun):.0f} ms"


def _facts(content: bytes) -> dict[str, str]:
    try:
        facts = json.loads(content)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
