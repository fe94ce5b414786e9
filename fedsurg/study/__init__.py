"""Study configuration: one TOML file, validated once, with a digest."""

from fedsurg.study.config import Study
from fedsurg.study.load import load_study, study_digest

__all__ = ["Study", "load_study", "study_digest"]
