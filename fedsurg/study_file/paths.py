"""The files and folders that a study names, for processes with another working directory."""

from pathlib import Path

from fedsurg.study.config import Study
from fedsurg.study.network_files import NETWORK_FILES
from fedsurg.study.start import KEY as START
from fedsurg.study.start import SHIPPED_NAME
from fedsurg.study_file.load import parse_values
from fedsurg.study_file.pictures import PICTURES


def with_absolute_paths(study: Study) -> Study:
    """The study with whole paths for what it knows by content; its digest stays.

    So do `shipped`, and an encoder's folder or name on a hub, which are part of the digest as they are written.
    """
    values = study.resolved()
    for key in (START, *NETWORK_FILES, *PICTURES):
        *tables, last = key.split(".")
        table = values
        for name in tables:
            table = table[name]
        if table[f"{last}_sha256"] and table[last] != SHIPPED_NAME:
            table[last] = str(Path(table[last]).expanduser().absolute())
    return parse_values(values, f"study {study.name!r}", {})
