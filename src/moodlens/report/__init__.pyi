from .figures.build import save_all as save_all
from .write import render as render
