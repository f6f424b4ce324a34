"""moodlens: emotion features in the text embeddings that drive text-to-music models, proved and put to use.

Names are looked up on first use: ``import moodlens`` loads neither torch nor transformers.
"""

import lazy_loader

from moodlens.core.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
