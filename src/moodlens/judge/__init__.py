"""Scores of clips, the results of a steering run, and listening tests. A score never sees which method made a clip."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
