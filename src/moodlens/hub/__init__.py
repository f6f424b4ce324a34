"""Shares a study on the model hub: pushes its SAE and directions with a card, and pulls those of others."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
