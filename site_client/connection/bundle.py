"""The app that travels is looked at before it runs: it has to be, byte for byte, the one of this installation."""

import hashlib

from flwr.proto.fab_pb2 import GetFabResponse
from google.protobuf.message import DecodeError

from fedsurg.relay import RefusedError

BUNDLE_BYTES = 10 << 20  # Flower takes no larger app


def require_own_bundle(answer: bytes, expected: str) -> None:
    """The SuperLink's answer to get-fab holds the app whose SHA-256 is `expected` (hex), under that very name.

    Raises:
        RefusedError: it holds another. The SuperNode then leaves the run alone.
    """
    try:
        fab = GetFabResponse.FromString(answer).fab
    except DecodeError:
        raise RefusedError(403, "bundle", "the coordinator sent an app that cannot be read; it was not run") from None
    found = hashlib.sha256(fab.content).hexdigest()
    if found != expected or fab.hash_str != expected:
        raise RefusedError(
            403,
            "bundle",
            f"the coordinator sent an app ({found[:16]}, {len(fab.content):,} bytes) that is not the one of this "
            f"installation ({expected[:16]}); it was not run. Both ends need the same version of fedsurg",
        )
