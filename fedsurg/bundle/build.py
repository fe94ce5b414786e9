"""The Flower app bundle, built in memory: equal installations build equal bytes, at the coordinator and in a hospital.

The format is Flower's: a zip of `pyproject.toml`, the app's files in order, and `.info/CONTENT`, which lists path,
SHA-256 and bits. Nothing in it is compressed, as two machines' zlib may give different bytes.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass

from fedsurg import __version__
from fedsurg.bundle.generate import GENERATED, require_generated, sources

APP, PUBLISHER = "fedsurg-round", "fedsurg"  # Flower allows no underscore in the name of an app
PACKAGE = "fedsurg_round"  # in the bundle: the name of an installed package would be shadowed
SOURCES = ("__init__.py", "client_app.py", "records.py", "server_app.py", "stream.py", *GENERATED)
_DATE = (2024, 10, 1, 0, 0, 0)  # Flower's own

_PYPROJECT = f"""[project]
name = "{APP}"
version = "{__version__}"
description = "Takes a round's message to the hospital's own worker, and its answer back"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "{PUBLISHER}"

[tool.flwr.app.components]
serverapp = "{PACKAGE}.server_app:app"
clientapp = "{PACKAGE}.client_app:app"

[tool.flwr.app.config]
study = ""
"""


@dataclass(frozen=True)
class Bundle:
    """A bundle: its bytes, and what they hold by path.

    Args:
        content: the file.
        files: path in it -> bytes; without the list of contents.
    """

    content: bytes
    files: dict[str, bytes]

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the bytes; Flower knows the bundle by it."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def id(self) -> str:
        """Flower's name of the app."""
        return f"{PUBLISHER}/{APP}"

    @property
    def version(self) -> str:
        """Of the app: that of fedsurg."""
        return __version__


def fedsurg_bundle() -> Bundle:
    """The bundle that this installation sends or accepts.

    Raises:
        FedsurgError: the generated stub is missing.
    """
    require_generated()
    folder = sources()
    found = {"pyproject.toml": _PYPROJECT.encode()}
    found |= {f"{PACKAGE}/{name}": (folder / name).read_bytes() for name in sorted(SOURCES)}
    lines = [f"{path},{hashlib.sha256(content).hexdigest()},{8 * len(content)}" for path, content in found.items()]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path, content in {**found, ".info/CONTENT": "\n".join(lines).encode()}.items():
            archive.writestr(zipfile.ZipInfo(path, _DATE), content)
    return Bundle(out.getvalue(), found)
