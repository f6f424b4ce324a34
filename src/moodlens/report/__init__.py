"""The report of a study: what was found, beside what chance gives, in one file a colleague can read."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
