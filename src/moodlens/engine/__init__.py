"""Work that may be done anywhere: units whose results lie under the hash of all that decides them, and who does them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
