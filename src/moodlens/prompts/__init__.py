"""Texts with an emotion: the grammar that writes them, users' tables, groups and splits."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
