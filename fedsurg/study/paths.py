"""The files and folders that a study names, for processes with another working directory."""

from pathlib import Path

from fedsurg.study.config import Study
from fedsurg.study.load import parse_values
from fedsurg.study.network_files import NETWORK_FILES
from fedsurg.study.pictures import PICTURES
from fedsurg.study.start import KEY as START
from fedsurg.study.start import SHIPPED_NAME


def with_absolute_paths(study: Study) -> Study:
    """The study with whole paths for what lies here; what `shipped` and names on a hub stand for stays as it is."""
    values = study.resolved()
    for key in (START, *NETWORK_FILES, *PICTURES):
        *tables, last = key.split(".")
        table = values
        for name in tables:
            table = table[name]
        path = Path(table[last]).expanduser()
        if table[last] not in ("", SHIPPED_NAME) and path.exists():
            table[last] = str(path.absolute())
    return parse_values(values, f"study {study.name!r}", {})
