"""Reading a study file: checked against the methods, profiles and files that there are."""

from fedsurg.study_file.load import load_study

__all__ = ["load_study"]
