"""From a request to a folder of site data: clips, masks, manifest; resumable, reproducible, cached by digest.

A folder is rendered in a hidden sibling and renamed when complete, so it is whole or absent. Each finished clip
leaves a small record there; a later attempt at the same request keeps those clips.
"""

import contextlib
import csv
import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import fedsurg
from fedsurg.data.site_file import SITE_FILE, SiteFile
from fedsurg.errors import SimulatorError
from fedsurg.files import toml_lines, write_atomic
from fedsurg.simulator.assets import check_pictures
from fedsurg.simulator.mask_values import mask_values
from fedsurg.simulator.places import UNFINISHED, remove_left_behind, replaceable, wait_for
from fedsurg.simulator.request import SIMULATOR_VERSION, RenderRequest
from fedsurg.stopping import no_interrupt, stopped_by_exception
from fedsurg.workers import stand_by, usable_processors

COLUMNS = ("image", "mask", "case", "clip", "frame", "split", "activity")
MANIFEST = "manifest.csv"
RECORD = "simulator.json"
INSTRUMENTS = "instruments.json"
RECORDS = "clips"  # of the finished ones, until all are
DIGITS = 16  # of a digest in the name of a folder
DEPTH_STEP_MM = 0.1  # of one grey level in a depth map
Progress = Callable[[int, int], None]


def render(request: RenderRequest, out: Path, *, workers: int | None = None, progress: Progress | None = None) -> Path:
    """Renders `request` into the folder `out` and returns it; nothing happens when it is already there.

    Args:
        workers: processes; None for one per processor. The bytes do not depend on it.
        progress: called with (finished frames, all frames).

    Raises:
        SimulatorError: a bad request, a folder that holds something else, a full disk, or a renderer that died;
            finished clips are kept for the next attempt in all but the first two cases.
    """
    request.check()
    if workers is not None and workers < 1:
        raise SimulatorError(f"workers is {workers}; it must be at least 1")
    out = replaceable(out)
    if _is_complete(request, out):
        _tidy(out)
        return out
    check_pictures(request.assets, whole_instruments=request.whole_instruments)
    partial = out.parent / f".{out.name}.{request.digest()[:DIGITS]}{UNFINISHED}"
    with stopped_by_exception(), _only_one(partial, private=bool(request.assets)):
        if _is_complete(request, out):  # another process finished it while this one waited
            return out
        _render_clips(request, partial, workers or usable_processors(), progress)
        _describe(request, partial)
        _publish(partial, out)
    return out


def cached(
    request: RenderRequest, cache: Path, *, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """The folder of `request` inside `cache`, rendered only when it is not there yet."""
    return render(request, cache / request.digest()[:DIGITS], workers=workers, progress=progress)


def _is_complete(request: RenderRequest, out: Path) -> bool:
    """Whether `out` holds this request already.

    Raises:
        SimulatorError: it holds anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = str(json.loads((out / RECORD).read_text())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        found = ""
    if found != request.digest():
        what = f"digest {found[:16]}, expected {request.digest()[:16]}" if found else f"it has no readable {RECORD}"
        raise SimulatorError(
            f"{out}: holds something else than this rendering ({what}); choose an empty folder or delete it"
        )
    lost = _lost_file(request, out)
    if lost:
        raise SimulatorError(f"{out / lost}: is missing or damaged; delete the folder and draw it again")
    return True


def _lost_file(request: RenderRequest, out: Path) -> str:
    """The first file of a finished rendering that is not there or empty; "": none. Pictures are not opened."""
    try:
        with (out / MANIFEST).open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        names = [row[column] for row in rows for column in ("image", "mask")]
    except (OSError, ValueError, KeyError):
        return MANIFEST
    if len(rows) != request.clips * request.frames or not all(names):
        return MANIFEST
    stems = [Path(row["image"]).stem for row in rows]
    names += [f"{label}/{stem}.png" for label in request.labels if label != "parts" for stem in stems]
    names += [f"videos/clip{clip:05d}.mp4" for clip in range(request.clips) if request.video]
    names += [SITE_FILE, *([INSTRUMENTS] if "instances" in request.labels else [])]
    return next((name for name in names if not _holds_something(out / name)), "")


def _holds_something(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


@contextlib.contextmanager
def _only_one(partial: Path, *, private: bool) -> Iterator[None]:
    """Holds the partial folder against other processes that render the same request; `private`: its owner's alone."""
    while True:
        try:
            partial.mkdir(0o700 if private else 0o777, parents=True, exist_ok=True)
            try:
                handle = os.open(partial, os.O_RDONLY)
            except FileNotFoundError:  # taken for left behind before it could be held
                continue
        except OSError as problem:
            raise SimulatorError(
                f"{partial.parent}: cannot be written ({problem.strerror}); check permissions and free space, or "
                "choose another folder"
            ) from problem
        wait_for(handle, partial.parent)
        if partial.exists() and os.fstat(handle).st_ino == partial.stat().st_ino:
            break
        os.close(handle)  # it was published under its final name meanwhile
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            partial.rmdir()  # empty when another process had finished: nothing to keep
        os.close(handle)


def _render_clips(request: RenderRequest, partial: Path, workers: int, progress: Progress | None) -> None:
    """Renders the clips that have no record yet, in parallel processes."""
    missing = [clip for clip in range(request.clips) if not _record(partial, clip).exists()]
    done = request.clips - len(missing)
    report = progress or (lambda _done, _all: None)
    report(done * request.frames, request.clips * request.frames)
    if not missing:
        return
    count = min(workers, len(missing))
    with no_interrupt():
        pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=stand_by)
    try:
        with no_interrupt():
            waiting: list[Future[None]] = [pool.submit(_render_clip, request, clip, partial) for clip in missing]
        for future in as_completed(waiting):
            future.result()
            done += 1
            report(done * request.frames, request.clips * request.frames)
    except BrokenProcessPool as problem:
        raise SimulatorError(
            f"a renderer process died after {done} of {request.clips} clips (out of memory, or stopped from outside); "
            "run the same command again to go on from there, with fewer workers if memory is short"
        ) from problem
    except BaseException:
        # Ended by force: an interrupt while the pool starts would leave it waiting for ever.
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _render_clip(request: RenderRequest, clip: int, partial: Path) -> None:
    """One clip, in a worker: its frames, then its record."""
    from fedsurg.simulator.frames import write_clip

    written = write_clip(request, clip, partial)
    write_atomic(_record(partial, clip), json.dumps(asdict(written)), error=SimulatorError)


def _record(partial: Path, clip: int) -> Path:
    return partial / RECORDS / f"{clip:05d}.json"


def _describe(request: RenderRequest, partial: Path) -> None:
    """Writes manifest.csv, site.toml and simulator.json; with instances also instruments.json."""
    clips = [json.loads(_record(partial, clip).read_text()) for clip in range(request.clips)]
    rows = [row for clip in clips for row in clip["rows"]]
    lines = [",".join(COLUMNS), *(",".join(str(row[column]) for column in COLUMNS) for row in rows)]
    write_atomic(partial / MANIFEST, "\n".join(lines) + "\n", error=SimulatorError)
    if "instances" in request.labels:
        kinds = {f"clip{number:05d}": clip["instruments"] for number, clip in enumerate(clips)}
        write_atomic(partial / INSTRUMENTS, json.dumps(kinds, indent=2) + "\n", error=SimulatorError)
    site = site_file_of(request)
    head = toml_lines(site.model_dump(include={"name", "procedure", "frame_rate_hz", "simulated"}))
    values = toml_lines({name: value for name, (value,) in site.mask_values.items()})
    write_atomic(partial / SITE_FILE, f"{head}\n[mask_values]\n{values}", error=SimulatorError)
    versions = {"fedsurg": fedsurg.__version__, "simulator": SIMULATOR_VERSION}
    record = {"digest": request.digest(), "request": request.as_dict(), "versions": versions}
    write_atomic(partial / RECORD, json.dumps(record, indent=2) + "\n", error=SimulatorError)
    if not request.assets:  # nobody's picture: who may see the frames may read what they show
        for file in (MANIFEST, SITE_FILE, RECORD, INSTRUMENTS):
            if (partial / file).exists():
                (partial / file).chmod((partial / rows[0]["image"]).stat().st_mode & 0o666)


def site_file_of(request: RenderRequest) -> SiteFile:
    """What a rendered folder says of itself."""
    return SiteFile(
        name=request.site,
        procedure=request.procedure,
        frame_rate_hz=request.frame_rate_hz,
        simulated=not request.assets,  # pictures of patients are theirs, composed or not
        mask_values=mask_values(request.whole_instruments),
    )


def _publish(partial: Path, out: Path) -> None:
    try:
        if out.exists():  # an empty folder, which may be closed to others
            partial.chmod(stat.S_IMODE(partial.stat().st_mode & out.stat().st_mode))
        partial.replace(out)
    except OSError as problem:
        if problem.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise SimulatorError(
                f"{out}: something else was put there meanwhile; the frames are kept in {partial}, move that folder to "
                "another place"
            ) from problem
        raise SimulatorError(
            f"{out}: cannot be written ({problem.strerror}); the frames are kept in {partial}, the same command goes "
            "on from there"
        ) from problem
    _tidy(out)


def _tidy(out: Path) -> None:
    """Removes the clips' records, which are needed until the last rename has worked, and what never became `out`."""
    with contextlib.suppress(OSError):  # the folder may hold what is a person's
        for record in (out / RECORDS).glob("[0-9]" * 5 + ".json"):
            record.unlink()
        (out / RECORDS).rmdir()
    remove_left_behind(out, letters=DIGITS)
