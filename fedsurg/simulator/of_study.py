"""What a study has the simulator draw: the server's video and the simulated hospitals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedsurg.simulator.assets import Assets, read_assets
from fedsurg.simulator.dataset import cached
from fedsurg.simulator.request import RenderRequest
from fedsurg.study.config import SimulatedSite, SiteConfig, Study, SyntheticConfig

Progress = Callable[[str, int, int], None]  # what, done, total


def synthetic_video(study: Study, cache: Path, progress: Progress) -> Path:
    """Site folder of the server's video, rendered if it is not in the cache.

    Raises:
        SimulatorError: rendering failed.
    """
    return cached(
        synthetic_request(study),
        cache / "synthetic",
        progress=lambda done, total: progress("synthetic video", done, total),
    )


def synthetic_request(study: Study) -> RenderRequest:
    """What the server's simulator draws."""
    config = study.synthetic
    return _request(study, config, plain=config.plain, assets=pictures_of(config))


def pictures_of(config: SyntheticConfig) -> Assets:
    """The pictures that the server's video is made with; folders are relative to where the command runs.

    Raises:
        SimulatorError: a folder is missing or holds no picture.
    """
    backgrounds, instruments = (
        Path(folder).expanduser() if folder else None for folder in (config.backgrounds, config.instruments)
    )
    return read_assets(backgrounds, instruments)


def site_request(site: SiteConfig, study: Study) -> RenderRequest:
    """What a simulated hospital looks like: its own seed fixes its camera and instrument maker."""
    assert site.simulate is not None
    config = site.simulate
    return _request(
        study,
        config,
        site=site.name,
        procedure=site.procedure,
        cases=config.cases,
        val_cases=config.val_cases,
        test_cases=config.test_cases,
        look_seed=config.seed,
    )


def _request(study: Study, config: SyntheticConfig | SimulatedSite, **more: Any) -> RenderRequest:
    """What the server's video and a simulated hospital have in common, at the study's size."""
    height, width = study.synthetic.size or study.task.image_size
    return RenderRequest(
        config.profiles,
        config.clips,
        config.frames,
        config.seed,
        height,
        width,
        worn=config.worn,
        whole_instruments=config.whole_instruments,
        **more,
    )
