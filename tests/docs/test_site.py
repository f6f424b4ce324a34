"""The documentation builds as a site, and a link that leads nowhere is found."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("properdocs")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def site(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("site_of_docs", ROOT / "docs" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "STAGED", tmp_path / "docs")
    monkeypatch.setattr(module, "SITE", tmp_path / "site")
    return module


def test_every_page_is_there_and_every_link_leads_somewhere(site, tmp_path):
    assert site.main() == 0
    pages = {path.stem for path in (tmp_path / "site").rglob("*.html")} - {"404"}
    written = {path.stem for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".ipynb")}
    assert pages == (written - {"index"}) | {"index", "pages", "contributing", "changelog"}
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert 'href="formats.html"' in home
    assert 'src="images/quickstart.png"' in home
    assert "read_study(STUDY_FILE), FOLDER" in (
        tmp_path / "site" / "notebooks" / "quickstart.html"
    ).read_text(encoding="utf-8").replace("&quot;", '"')


@pytest.mark.parametrize("link", ["nowhere.md", "formats.md#no-such-heading", "../nowhere.yaml"])
def test_a_broken_link_is_an_error(site, tmp_path, monkeypatch, capsys, link):
    copy = tmp_path / "copy"
    (copy / "docs").mkdir(parents=True)
    (copy / "README.md").write_text("# Home\n\n[pages](docs/index.md)\n")
    (copy / "docs" / "index.md").write_text(f"# Pages\n\n[files](formats.md) [x]({link})\n")
    (copy / "docs" / "formats.md").write_text("# Files\n")
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "Containerfile"):
        (copy / name).write_text("# text\n")
    monkeypatch.setattr(site, "ROOT", copy)
    assert site.main() == 1
    assert "strict" in capsys.readouterr().err
