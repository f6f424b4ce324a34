"""The built page: one HTML file that comes with the package, what it may load (nothing), and where data goes in."""

import base64
import gzip
import hashlib
import re
from importlib.resources import files

from moodlens.core import BadInput

MARK = '<script id="moodlens-data" type="text/plain"></script>'
"""Empty where the page is served; an exported file holds its data there."""
_SCRIPT = re.compile(r"<script(?P<attributes>[^>]*)>(?P<code>.*?)</script>", re.DOTALL)
_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_SERVED = "; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; frame-ancestors 'none'"
_FILE = "; img-src data: blob:; media-src data: blob:; connect-src 'none'"


def built_page() -> str:
    """The page as it was built from ``explorer/``.

    Raises:
        BadInput: this copy of the package has none, or a damaged one.
    """
    page = files("moodlens.explore").joinpath("page.html")
    if not page.is_file():
        raise BadInput("moodlens.explore: page.html is missing; build it: npm run build in explorer/")
    html = page.read_text(encoding="utf-8")
    return checked_page(html)


def checked_page(html: str) -> str:
    """The page, if it holds everything that it must hold once.

    Raises:
        BadInput: it does not.
    """
    for needed in (MARK, "<head>", "</head>"):
        if html.count(needed) != 1:
            raise BadInput(
                f"moodlens.explore: page.html must hold {needed} once, not {html.count(needed)} times"
            )
    return html


def policy(html: str, *, served: bool) -> str:
    """What the page may do: run its own scripts, by their hashes, and ask nobody but its server."""
    codes = [script["code"] for script in _SCRIPT.finditer(html) if "text/plain" not in script["attributes"]]
    hashes = (base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in codes)
    scripts = " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"
    return _POLICY.format(scripts=scripts) + (_SERVED if served else _FILE)


def with_data(html: str, data: bytes) -> str:
    """The page as a file of its own, which asks nobody for anything."""
    packed = base64.b64encode(data).decode()
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy(html, served=False)}">'
    full = html.replace(MARK, f"{MARK.removesuffix('</script>')}{packed}</script>")
    return full.replace("<head>", f"<head>{meta}", 1)


def packed(json: str) -> bytes:
    """Gzip without a date, so that equal data give equal files."""
    return gzip.compress(json.encode(), compresslevel=9, mtime=0)
