"""The manifest: one row per labelled frame, and everything that must hold between rows."""

import posixpath
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from fedsurg.errors import DataError

REQUIRED = ("image", "mask", "case", "clip", "frame", "split")
OPTIONAL = ("activity", "phase", "consent")
SPLITS = ("train", "val", "test")


def find_manifest(folder: Path) -> Path:
    """The folder's `manifest.csv` or `manifest.parquet`.

    Raises:
        DataError: there is neither, or there are both.
    """
    found = [path for path in (folder / "manifest.csv", folder / "manifest.parquet") if path.is_file()]
    if not found:
        raise DataError(
            f"{folder}: no manifest.csv or manifest.parquet; write one row per labelled "
            f"frame with {', '.join(REQUIRED)}"
        )
    if len(found) > 1:
        raise DataError(f"{folder}: both manifest.csv and manifest.parquet; keep the one that is right")
    return found[0]


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest; all columns are text but `frame`, an integer. The index is the line in the file.

    Raises:
        DataError: unreadable, no rows, a missing or unknown column, an empty cell, or a frame that is no
            number.
    """
    try:
        if path.suffix == ".csv":
            rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
        else:
            rows = pd.read_parquet(path)
    except (OSError, ValueError) as problem:  # pandas' and pyarrow's own errors are ValueErrors
        raise DataError(f"{path}: cannot be read as a table ({_one_line(problem)})") from problem
    _check_cells(rows, path)
    _check_columns(rows, path)
    # Line 1 of a CSV file is its header.
    rows.index = pd.RangeIndex(2, 2 + len(rows)) if path.suffix == ".csv" else pd.RangeIndex(1, 1 + len(rows))
    rows = rows[~(rows.isna() | (rows == "")).all(axis=1)]  # blank lines, kept so far for the line numbers
    if rows.empty:
        raise DataError(f"{path}: no rows; add one per labelled frame")
    for column in REQUIRED:
        _check_filled(rows[column], path)
    rows = rows.astype({column: str for column in rows.columns if column != "frame"})
    return rows.assign(frame=_whole_numbers(rows["frame"], path))


def problems_of(rows: pd.DataFrame, path: Path) -> Iterator[str]:
    """Everything wrong between the rows of a manifest and with the paths it names, one line each."""
    yield from _unknown_splits(rows, path)
    yield from _repeated(rows, path)
    yield from _cases_in_two_splits(rows, path)
    yield from _gaps(rows, path)
    yield from _bad_paths(rows, path)


def path_problem(folder: Path, name: str) -> str:
    """Why a manifest in `folder` may not name this file; empty if it may."""
    inside = folder.resolve()
    try:
        target = (inside / name).resolve()
        # A manifest must not reach outside: the folder is what the hospital agreed to open.
        if not target.is_relative_to(inside):
            return "lies outside the site folder; copy it inside"
        return "" if target.is_file() else "does not exist; add it or remove the line"
    except (OSError, ValueError, RuntimeError) as problem:  # too long, a NUL, a link to itself
        return f"is no usable path ({problem}); correct it or remove the line"


def _check_cells(rows: pd.DataFrame, path: Path) -> None:
    """Tables whose cells are not under the names that were meant, or are no plain values."""
    if path.suffix == ".csv" and not isinstance(rows.index, pd.RangeIndex):  # pandas makes what is left over an index
        raise DataError(
            f"{path}: its rows have more cells than its header; remove commas at their ends, and put text that holds a "
            "comma in quotes"
        )
    for column in rows:
        if rows[column].map(pd.api.types.is_list_like).any():
            raise DataError(f"{path}: column {column!r} holds lists; give one text or number per row")


def _check_columns(rows: pd.DataFrame, path: Path) -> None:
    absent = [column for column in REQUIRED if column not in rows.columns]
    if absent:
        raise DataError(f"{path}: column {absent[0]!r} is missing; found {', '.join(map(str, rows.columns))}")
    unknown = [str(column) for column in rows.columns if column not in REQUIRED + OPTIONAL]
    if unknown:
        raise DataError(
            f"{path}: unknown column {unknown[0]!r}; allowed are {', '.join(REQUIRED)} and "
            f"optionally {', '.join(OPTIONAL)}"
        )


def _check_filled(column: "pd.Series[str]", path: Path) -> None:
    empty = column[column.isna() | (column.astype(str).str.strip() == "")]
    if not empty.empty:
        raise DataError(f"{path}: line {empty.index[0]}: {column.name} is empty; fill it in or remove the line")
    text = column.astype(str)
    padded = text[text != text.str.strip()]
    if not padded.empty:  # ' op1' would be another case than 'op1'
        raise DataError(
            f"{path}: line {padded.index[0]}: {column.name} is {padded.iloc[0]!r}; remove the blank at its end or start"
        )


def _whole_numbers(column: "pd.Series[str]", path: Path) -> "pd.Series[int]":
    text = column.astype(str)
    wrong = text[~text.str.fullmatch(r"\d{1,15}")]
    if not wrong.empty:
        raise DataError(
            f"{path}: line {wrong.index[0]}: frame is {wrong.iloc[0]!r}; expected the frame's "
            "number in its clip, 0, 1, 2, ..."
        )
    return text.astype("int64")


def _unknown_splits(rows: pd.DataFrame, path: Path) -> Iterator[str]:
    for split, found in rows[~rows["split"].isin(SPLITS)].groupby("split", sort=False):
        yield (
            f"{path}: line {found.index[0]}: split {split!r} is unknown ({len(found)} rows); allowed "
            f"are {', '.join(SPLITS)}"
        )


def _repeated(rows: pd.DataFrame, path: Path) -> Iterator[str]:
    rows = rows.assign(**{column: rows[column].map(posixpath.normpath) for column in ("image", "mask")})
    images = {image: line for line, image in rows["image"].items()}
    for line, mask in rows["mask"].items():
        if mask in images:
            yield f"{path}: line {line}: mask {mask!r} is the image of line {images[mask]}; name the file of its labels"
    for columns in (["image"], ["case", "clip", "frame"]):
        for _, found in rows[rows.duplicated(columns, keep=False)].groupby(columns, sort=False):
            what = ", ".join(f"{column} {found[column].iloc[0]}" for column in columns)
            yield f"{path}: lines {found.index[0]} and {found.index[1]} are the same {what}; keep one"


def _cases_in_two_splits(rows: pd.DataFrame, path: Path) -> Iterator[str]:
    for case, found in rows.groupby("case", sort=False):
        firsts = found.drop_duplicates("split")
        if len(firsts) > 1:
            places = " and ".join(f"{split} (line {line})" for line, split in firsts["split"].items())
            yield f"{path}: case {case!r} is in two splits, {places}; put all its frames into one"


def _gaps(rows: pd.DataFrame, path: Path) -> Iterator[str]:
    for (case, clip), found in rows.groupby(["case", "clip"], sort=False):
        frames = found["frame"].sort_values()
        jumps = frames[frames.diff().fillna(1) > 1]
        if not jumps.empty:
            before = frames[frames < jumps.iloc[0]].iloc[-1]
            yield (
                f"{path}: line {jumps.index[0]}: clip {clip!r} of case {case!r} jumps from frame {before} to "
                f"{jumps.iloc[0]}; number its rows consecutively, or split it into two clips"
            )


def _bad_paths(rows: pd.DataFrame, path: Path) -> Iterator[str]:
    for column in ("image", "mask"):
        for line, name in rows[column].items():
            problem = path_problem(path.parent, name)
            if problem:
                yield f"{path}: line {line}: {column} {name!r} {problem}"


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())
