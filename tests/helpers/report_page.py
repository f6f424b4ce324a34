"""Reading a report back: its tables, its tags, and everything it would fetch."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input", "source"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects addresses, ids, tag names and the text of table cells."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._caption = ""
        self._text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "srcset", "action", "data", "poster"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)
        if tag in ("caption", "td", "th"):
            self._text = []
        if tag == "tr" and self._caption:
            self.tables[self._caption].append([])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()
        text = " ".join("".join(self._text).split())
        if tag == "caption":
            # The same caption may come twice; each table has its own place.
            while text in self.tables:
                text += " (again)"
            self._caption = text
            self.tables[text] = []
        elif tag in ("td", "th"):
            self.tables[self._caption][-1].append(text)
        elif tag == "table":
            self._caption = ""


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Every pipe table as rows of plain cells (the ruler left out)."""
    tables: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            tables.append([])
            inside = True
        cells = [plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not all(re.fullmatch(r"-{3,}:?", cell) for cell in cells):
            tables[-1].append(cells)
    return tables


def plain(markdown: str) -> str:
    """Markdown's escapes, entities and bold undone."""
    text = re.sub(r"^\*\*(.*)\*\*$", r"\1", markdown)
    text = re.sub(r"\\([\\*_\[\]#|~$@:.])", r"\1", text).replace("`", "")
    return " ".join(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").split())
