"""Reading a study file: every mistake names its key, the value found and what is allowed."""

import difflib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fedsurg.errors import StudyError
from fedsurg.study.config import Study
from fedsurg.study.network_files import NETWORK_FILES, with_network_digests
from fedsurg.study.start import KEY as START
from fedsurg.study.start import with_start_digest
from fedsurg.study_file.pictures import PICTURES, with_picture_digests


def load_study(path: Path, *, overrides: Mapping[str, Any] | None = None, with_files: bool = True) -> Study:
    """Read and check a study file.

    Args:
        path: a TOML file.
        overrides: values that replace keys of the file, by dotted key: `{"federation.rounds": 3}`.
        with_files: look at the files and folders that it names (start, encoder weights, text vectors, pictures); who
            does not train needs none.

    Raises:
        StudyError: the file is missing or not TOML, a key is unknown, ill-typed or contradicts another, or the
            start file or a picture folder that it names is missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise StudyError(f"{path}: cannot be read ({problem}); give the path of a study file") from problem
    return parse_study(text, str(path), overrides=overrides, with_files=with_files)


def parse_study(
    text: str, source: str, *, overrides: Mapping[str, Any] | None = None, with_files: bool = True
) -> Study:
    """Check the text of a study; `source` names it in errors."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise StudyError(f"{source}: is not valid TOML: {problem}") from problem
    study = parse_values(values, source, overrides or {})
    return _with_files(study, source) if with_files else study


def parse_values(values: dict[str, Any], source: str, overrides: Mapping[str, Any]) -> Study:
    """Check a study given as plain values, with `overrides` put in by dotted key; `source` names it in errors."""
    for key, value in overrides.items():
        _set(values, key, value, source)
    try:
        # Strict, so that "12" is no number; by way of JSON, whose lists may stand for tuples.
        study = Study.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as problem:
        raise StudyError(f"{source}: " + "; ".join(_explain(error) for error in problem.errors())) from None
    _check_names(study, source)
    if any(site.simulate for site in study.sites):
        from fedsurg.study_file.simulated import check_simulated_sites  # it imports the simulator

        check_simulated_sites(study, source)
    return study


def changed(study: Study, overrides: Mapping[str, Any]) -> Study:
    """The study with other values for some keys, by dotted key; checked like a study file.

    Files and folders are looked at again only where others are named: a finished run can be read without them.

    Raises:
        StudyError: a key is unknown, ill-typed or contradicts another, or another start file or folder is missing.
    """
    source, values = f"study {study.name!r}", study.resolved()
    named = [key for key in (START, *NETWORK_FILES, *PICTURES) if key in overrides]
    for key in named:
        _set(values, f"{key}_sha256", "", source)
    found = parse_values(values, source, overrides)
    if START in named:
        found = with_start_digest(found, source)
    found = with_network_digests(found, source, named)
    return with_picture_digests(found, source) if set(named) & set(PICTURES) else found


def _with_files(study: Study, source: str) -> Study:
    return with_picture_digests(with_network_digests(with_start_digest(study, source), source), source)


def _set(values: dict[str, Any], key: str, value: Any, source: str) -> None:
    *tables, last = key.split(".")
    for depth, table in enumerate(tables, 1):
        inner = values.setdefault(table, {})
        if not isinstance(inner, dict):
            above = ".".join(tables[:depth])
            what = (
                "a list, whose entries are changed in the file" if isinstance(inner, list) else f"{inner!r}, no table"
            )
            raise StudyError(f"{source}: {key}: cannot be set, as {above} is {what}")
        values = inner
    values[last] = value


def _check_names(study: Study, source: str) -> None:
    from fedsurg.methods.registry import METHODS  # it imports the study's types
    from fedsurg.simulator.profiles import PROFILES

    known = ", ".join(sorted(METHODS))
    if not study.methods:
        raise StudyError(f"{source}: methods: is empty; name at least one of {known}")
    for method in study.methods:
        if method not in METHODS:
            raise StudyError(f"{source}: methods: {method!r} is unknown; known: {known}")
        if study.methods.count(method) > 1:
            raise StudyError(f"{source}: methods: {method!r} appears {study.methods.count(method)} times; keep one")
        if METHODS[method].objective == "head-first" and study.local.steps < 2:
            raise StudyError(
                f"{source}: local.steps: is {study.local.steps}, but {method} trains the head in some steps of a round "
                "and the body in others; use 2 or more"
            )
        if METHODS[method].grouping != "none" and not METHODS[method].trained(study.sharing):
            raise StudyError(f"{source}: sharing: every part that {method} has is frozen, so it would train nothing")
        if METHODS[method].server != "none" and not set(METHODS[method].trained(study.sharing)) - {"gate", "adapters"}:
            raise StudyError(
                f"{source}: sharing: {method}'s server trains on synthetic video, and every part that it has, all but "
                "gate and adapters, is frozen"
            )
    tables = [("synthetic.profiles", study.synthetic.profiles)]
    tables += [(f"sites[{s.name}].simulate.profiles", s.simulate.profiles) for s in study.sites if s.simulate]
    for key, profiles in tables:
        if not profiles:
            raise StudyError(f"{source}: {key}: is empty; name at least one of {', '.join(sorted(PROFILES))}")
        for profile in profiles:
            if profile not in PROFILES:
                raise StudyError(f"{source}: {key}: {profile!r} is unknown; known: {', '.join(sorted(PROFILES))}")


def _explain(error: Any) -> str:
    """One pydantic error in a person's words."""
    location = error["loc"]
    key = ".".join(str(part) for part in location) or "study"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; {_nearest(location)}"
    if error["type"] == "missing":
        return f"{key}: is missing; add it"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"]) if not location else f"{key}: {error['ctx']['error']}"
    found = repr(error["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    return f"{key}: found {found}; {error['msg'][0].lower()}{error['msg'][1:]}"


def _nearest(location: tuple[Any, ...]) -> str:
    """What could have been meant at an unknown key."""
    allowed = sorted(_fields_at(location[:-1]))
    close = difflib.get_close_matches(str(location[-1]), allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed here: {', '.join(allowed)}"


def _fields_at(location: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = Study
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            found = model_in(model.model_fields[part].annotation)
            model = found or model
    return list(model.model_fields)


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The table that a key's type holds, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := model_in(inner))), None)
