"""The digest of a study: what a hospital approves and a checkpoint, a cache and a report carry."""

from fedsurg.files import digest_of
from fedsurg.study.config import Study

PICTURE_FOLDERS = ("backgrounds", "instruments")  # keys of [synthetic]


def study_digest(study: Study) -> str:
    """SHA-256 (hex) over the resolved study in canonical form.

    Of files and pictures it holds what is in them (`start_sha256` and the like), not where they lie.
    """
    values = study.resolved()
    del values["server"]["pretrain"]["start"]
    for table, name in ((values["network"], "encoder_weights"), (values["network"]["gate"], "text_model")):
        if table[f"{name}_sha256"]:
            del table[name]
    if not study.network.gate.text_model_sha256:
        del values["network"]["gate"]["text_model_sha256"]  # so that studies from before there was this key are known
    for key in PICTURE_FOLDERS:
        del values["synthetic"][key]
    return digest_of(values)
