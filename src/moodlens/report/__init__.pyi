from .write import render as render
from .write import save_all as save_all
