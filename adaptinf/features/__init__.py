"""Per-sample gradients, scores and embeddings of the pool, and the files they are kept in."""

__all__ = ["FeatureExtractor"]


def __getattr__(name: str) -> object:
    if name == "FeatureExtractor":
        from adaptinf.features.extractor import FeatureExtractor

        return FeatureExtractor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
