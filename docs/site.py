"""The documentation as a website, in build/site: `make docs`. Every link is checked, also into headings; none may be broken.

The pages stay readable where they lie. What the README, the pages and the notebooks call `docs/x.md`, `../README.md` or
`../studies/x.yaml` is one tree here, so it is laid out anew first.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import yaml

ROOT = Path(__file__).resolve().parent.parent
STAGED, SITE = ROOT / "build" / "docs", ROOT / "build" / "site"
TITLES = {
    "README.md": "moodlens",
    "index.md": "All pages",
    "install.md": "Installing",
    "captions-study.md": "A worked study",
    "prompts.md": "Prompts",
    "encoders.md": "Encoders",
    "choosing.md": "Choosing settings",
    "statistics.md": "Statistics",
    "explorer.md": "The explorer",
    "formats.md": "Files of a study",
    "steering.md": "Steering",
    "scores.md": "Scores of clips",
    "sharing.md": "Sharing",
    "scaling.md": "Many machines",
    "performance.md": "Speed",
    "CONTRIBUTING.md": "Contributing",
    "CHANGELOG.md": "Changes",
}
"""Pages in the order of the menu. One that is not here comes before the last two, under its own first heading."""
_LINK = re.compile(r"(\]\(|src=\")(?!https?:|mailto:|#)([^)\"#\s]+)")


def places() -> dict[PurePosixPath, str]:
    """Path in the working copy -> path on the site, for everything that a page may link to."""
    found = {PurePosixPath("README.md"): "index.md", PurePosixPath("docs/index.md"): "pages.md"}
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Containerfile"):
        found[PurePosixPath(name)] = name.lower() if name.endswith(".md") else name
    for path in [*(ROOT / "docs").rglob("*"), *(ROOT / "studies").glob("*.yaml")]:
        inside = PurePosixPath(path.relative_to(ROOT).as_posix())
        if path.is_file() and path.suffix not in (".py", ".pyc") and inside not in found:
            inner = inside.relative_to("docs") if inside.parts[0] == "docs" else inside
            found[inside] = str(inner.with_suffix(".md")) if inside.suffix == ".ipynb" else str(inner)
    return found


def moved(text: str, page: PurePosixPath, site: dict[PurePosixPath, str]) -> str:
    """The links of a page as they are on the site; one to nothing is left for the check to find."""

    def link(match: re.Match[str]) -> str:
        parts: list[str] = []
        for part in (page.parent / match[2]).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        target = site.get(PurePosixPath(*parts)) if parts else None
        if target is None:
            return match[0]
        up = "../" * (len(PurePosixPath(site[page]).parts) - 1)
        return f"{match[1]}{up}{target}"

    return _LINK.sub(link, text)


def notebook(text: str) -> str:
    """A notebook as a page: its words, its code and what the code printed."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
    return "\n\n".join(parts) + "\n"


def stage() -> dict:
    """Lay the pages out anew; returns the settings of the site."""
    shutil.rmtree(STAGED, ignore_errors=True)
    site, titles = places(), {}
    for source, target in site.items():
        path = STAGED / target
        path.parent.mkdir(parents=True, exist_ok=True)
        read: Callable[[str], str] | None = {".md": str, ".ipynb": notebook}.get(source.suffix)
        if read is None:
            shutil.copyfile(ROOT / source, path)
            continue
        text = read((ROOT / source).read_text(encoding="utf-8"))
        path.write_text(moved(text, source, site), encoding="utf-8")
        heading = re.search(r"^# (.+)$", text, re.MULTILINE)
        titles[target] = TITLES.get(source.name, heading[1] if heading else source.stem)
    order = [site[p] for name in TITLES for p in site if p.name == name and str(p) != "docs/README.md"]
    rest = sorted(titles.keys() - set(order))
    menu = [*order[:-2], *rest, *order[-2:]]
    return {
        "site_name": "moodlens",
        "docs_dir": str(STAGED),
        "site_dir": str(SITE),
        "theme": {"name": "mkdocs", "color_mode": "auto", "user_color_mode_toggle": True},
        "use_directory_urls": False,
        "plugins": ["search"],
        "markdown_extensions": ["tables", "fenced_code", "toc", "sane_lists"],
        "nav": [{titles[target]: target} for target in menu if target in titles],
        "strict": True,
        "validation": {
            "omitted_files": "warn",
            "links": {
                "not_found": "warn",
                "anchors": "warn",
                "absolute_links": "warn",
                "unrecognized_links": "warn",
            },
        },
    }


def main() -> int:
    """Build the site; the exit status says whether every link leads somewhere."""
    from properdocs.commands.build import build
    from properdocs.config import load_config
    from properdocs.exceptions import Abort

    settings = stage()
    path = STAGED.parent / "site.yml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    try:
        build(load_config(str(path)))
    except Abort as error:
        sys.stderr.write(f"documentation: {error}\n")
        return 1
    sys.stdout.write(f"{SITE / 'index.html'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
