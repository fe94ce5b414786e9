"""How a finished model is asked and its answer read, in words for its card."""

from fedsurg.data.magnification import view_sizes
from fedsurg.learning.decision import BY_PIXEL, Decision
from fedsurg.report.wording import listed
from fedsurg.study.config import Study


def views_in_words(study: Study, factor: float = 1.0) -> str:
    """Sentences on the views of a frame whose mean is scored, and on how that becomes labels.

    Args:
        study: whose `[evaluation]` the scores are by.
        factor: of the magnification of the site whose model it is.

    Returns:
        A line for each, begun by a line break; empty where a frame is seen once and each pixel is what it likeliest is.
    """
    sizes = view_sizes(study.task.image_size, study.evaluation.scales, factor)
    lines = []
    if factor != 1:
        lines.append(f"Instruments look small at this hospital: frames are also shown {factor:g} times as large.")
    mirrored = study.evaluation.mirrored
    if mirrored or list(sizes) != [study.task.image_size]:
        mean = "the mean of " * (mirrored or len(sizes) > 1)
        mirror = ", and its mirror image," * mirrored
        named = listed([f"{height} x {width}" for height, width in sizes])
        lines.append(
            f"Use {mean}the network's probabilities on the frame{mirror} at {named} pixels: scores are of that."
        )
    if len(sizes) > 1 and study.evaluation.confidence:
        weight = f"exp({study.evaluation.confidence:g} x `fedsurg.learning.decision.expected_iou`)"
        lines.append(f"In the mean a size counts by {weight}.")
    decision = Decision.of(study.evaluation)
    if decision != BY_PIXEL:
        lines.append(f"Labels are not each pixel's likeliest, but those of `fedsurg.learning.decision.{decision}`.")
    return "".join(f"\n{line}" for line in lines)
