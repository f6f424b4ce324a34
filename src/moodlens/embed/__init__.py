"""From texts to arrays: encoders, segments, the store, and embeddings made elsewhere."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
