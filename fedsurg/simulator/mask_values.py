"""Which number in a mask stands for what."""

BACKGROUND, SHAFT, WRIST, CLASPER = 0, 1, 2, 3
INSTRUMENT = 255  # of an instrument as a whole

PART_VALUES = {"background": BACKGROUND, "shaft": SHAFT, "wrist": WRIST, "clasper": CLASPER}
WHOLE_VALUES = {"background": BACKGROUND, "instrument": INSTRUMENT}


def mask_values(whole_instruments: bool) -> dict[str, tuple[int, ...]]:
    """Name of a label -> its values in masks."""
    return {name: (value,) for name, value in (WHOLE_VALUES if whole_instruments else PART_VALUES).items()}
