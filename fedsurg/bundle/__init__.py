"""The Flower app bundle of deployed rounds: what is in it, its bytes and digest, the stub that is generated for it."""

from fedsurg.bundle.build import Bundle, fedsurg_bundle

__all__ = ["Bundle", "fedsurg_bundle"]
