"""What a study says: its tables, the files that it names, its digest. `fedsurg.study_file` reads one."""

from fedsurg.study.config import Study
from fedsurg.study.digest import study_digest

__all__ = ["Study", "study_digest"]
