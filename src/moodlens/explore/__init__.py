"""The explorer: a study as a web page, served or as one file. It reads the study's records and tables and nothing else."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
