"""The explorer's page, driven as a person would: served by the real server, and as one file, with nothing else to reach."""

import csv
import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import polars as pl
import pytest

pytest.importorskip("fastapi", reason="needs the extra `explore`")

from helpers.browser import chromium
from helpers.explorer_page import Page, serving
from moodlens.explore.answers import NoteQuestion
from moodlens.explore.explored import Explored
from moodlens.explore.export import write_page
from moodlens.explore.notes import add_note
from moodlens.explore.page import built_page
from moodlens.explore.server import explorer_app
from moodlens.study.notes import Notes

HOSTILE = '<img src=x onerror="window.ran=1"></script><script>window.ran=1</script>{@html 1}\u202e'
EXPLORER = Path(__file__).resolve().parents[2] / "explorer"
ROWS = "[...document.querySelectorAll('tr[data-place]')]"
FIRST = "tr[data-place='0'] a"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    page = Page(chromium(), tmp_path_factory.mktemp("browser"))
    yield page
    page.close()


@pytest.fixture(scope="module")
def folder(small_study, tmp_path_factory):
    return Path(shutil.copytree(small_study, tmp_path_factory.mktemp("explored") / "small"))


@pytest.fixture(scope="module")
def table(folder):
    return pl.read_parquet(folder / "features.parquet")


@pytest.fixture(scope="module")
def served(folder, small_study):
    """The address of a server of the study, beside another."""
    with serving(explorer_app(Explored(folder), built_page(), other=Explored(small_study))) as address:
        yield address


@pytest.fixture(scope="module")
def exported(small_study, tmp_path_factory):
    """The address of the study as one file, beside another; a note in it is hostile."""
    own = Path(shutil.copytree(small_study, tmp_path_factory.mktemp("exported") / "small"))
    note = NoteQuestion(feature=1, name=HOSTILE, clarity="unclear", note=HOSTILE * 20, author="</script>")
    add_note(Explored(own), note)
    done = write_page(Explored(own), own.parent / "page.html", built_page(), other=Explored(small_study))
    return done.path.as_uri()


@pytest.fixture(params=["served", "exported"])
def there(request, page):
    """The page of one kind; afterwards nothing went wrong and nothing foreign was asked for."""
    page.base = request.getfixturevalue(request.param)
    page.screen(1280, "light")
    n_faults, n_requests = len(page.faults()), len(page.requests())
    yield page
    # That nothing is left to be named blind is answered with 404, which the browser's log counts as a fault.
    assert [fault for fault in page.faults()[n_faults:] if "api/blind" not in fault] == []
    own = ("about:blank", page.base, "data:", "blob:")
    assert [url for url in page.requests()[n_requests:] if not url.startswith(own)] == []
    assert page.js("window.ran") is None


@pytest.fixture
def on_server(page, served):
    page.base = served
    page.screen(1280, "light")
    n_faults = len(page.faults())
    yield page
    assert page.faults()[n_faults:] == []
    assert page.js("window.ran") is None


@pytest.fixture
def in_file(page, exported):
    page.base = exported
    page.screen(1280, "light")
    n_faults = len(page.faults())
    yield page
    assert page.faults()[n_faults:] == []
    assert page.js("window.ran") is None


def claimed(table) -> int:
    return table.filter("emotion_feature")["feature"][0]


def alive(table) -> int:
    """A feature that is not claimed and fires."""
    return table.filter(~pl.col("emotion_feature") & (pl.col("density") > 0))["feature"][0]


def shown_features(page) -> list[int]:
    return page.js(
        f"{ROWS}.filter(r => r.offsetParent).map(r => Number(r.querySelector('a').innerText.slice(1)))"
    )


def test_a_feature_is_found_by_its_name_and_opened(there, table):
    feature = claimed(table)
    word = re.findall(r"\w+", table["name"][feature])[-1]
    there.go("#features?show=all")
    there.write("input[type=search]", word)
    found = shown_features(there)
    text = pl.concat_str(["name", "fired_by", "concept", "emotion"], separator=" ", ignore_nulls=True)
    wanted = table.filter(
        text.str.to_lowercase().str.contains(word.lower(), literal=True) & (pl.col("density") > 0)
    )
    assert feature in found
    assert set(found) == set(wanted["feature"].head(50)) if wanted.height < 30 else len(found) > 20
    there.write("input[type=search]", f"f{feature} auroc>0.5")
    assert feature in shown_features(there)
    there.write("input[type=search]", f"f{feature} auroc<0.5")
    assert "No feature fits" in there.text()
    there.write("input[type=search]", f"f{feature}")
    there.click("tr[data-place] a", f"F{feature}")
    there.until("location.hash.startsWith('#feature/') && document.querySelector('main h1')")
    assert there.text("h1").split()[0] == f"F{feature}"
    assert table["name"][feature] in there.text("h1")


def test_features_are_sorted_and_filtered_and_the_address_says_so(there, table):
    emotion = table.filter(pl.col("density") > 0)["emotion"].mode()[0]
    there.go("#overview")
    there.choose("[role=search] select", emotion)
    there.choose("[role=search] label:has(option[value=rest]) select", "all")
    there.click("th button", "Density")
    there.until("document.querySelector('th[aria-sort=descending]')")
    there.click("th button", "Density")
    there.until("document.querySelector('th[aria-sort=ascending]')?.innerText.includes('Density')")
    address = there.js("location.hash")
    assert "emotion=" in address
    assert "sort=density" in address
    wanted = table.filter(
        (pl.col("density") > 0) & (pl.col("density") <= 0.5) & (pl.col("emotion") == emotion)
    )
    order = wanted.sort("density", "feature")["feature"].to_list()
    assert shown_features(there)[:8] == order[:8]
    # The same address, cold: the same view.
    there.go(address)
    assert shown_features(there)[:8] == order[:8]
    assert there.js("document.querySelector('[role=search] select').value") == emotion


def test_keys_go_from_row_to_row_and_open(there, table):
    there.go("#features?show=all&sort=feature&dead=1&dense=1")
    there.js(f"document.querySelector({json.dumps(FIRST)}).focus()")
    for _ in range(45):  # beyond what is drawn at first
        there.key("ArrowDown")
        there.js("new Promise(requestAnimationFrame)")
    there.until("document.activeElement.innerText === 'F45'")
    there.key("Enter")
    there.until("document.querySelector('h1')?.innerText.startsWith('F45')")


def test_a_link_from_cold_shows_the_feature_with_its_evidence(there, table):
    feature = claimed(table)
    there.go(f"#feature/{feature}", "document.querySelectorAll('main figure svg').length > 2")
    text = there.text()
    for wanted in (
        "Strongest texts",
        "every tenth",
        "Misses",
        "Nearest features",
        "Twins in other pipelines",
        "Evidence",
    ):
        assert wanted in text
    assert f"{table['auroc'][feature]:.3f}" in text
    assert "held-out" in text
    there.go("#feature/99999")
    assert "No such feature" in there.text()
    there.go(f"#{'x' * 3000}")
    assert "Nothing here" in there.text()


def test_tables_come_as_csv_and_figures_as_svg(there, table):
    there.go("#features?show=all&dead=1&dense=1&sort=feature")
    file = there.download("button[aria-label*='\"Features\" as CSV']")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert [int(row["feature"]) for row in rows] == table["feature"].to_list()
    for row, auroc in zip(rows, table["auroc"], strict=True):
        assert (row["auroc"] == "") == (auroc is None)
        if auroc is not None:
            assert float(row["auroc"]) == pytest.approx(auroc, rel=1e-3)
    there.go(f"#feature/{claimed(table)}", "document.querySelectorAll('main figure svg').length > 2")
    drawn = ET.fromstring(there.download("figure button[aria-label$='as SVG']").read_text(encoding="utf-8"))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(drawn.iter())) > 10
    assert "light-dark" not in ET.tostring(drawn, encoding="unicode")


def test_two_studies_are_compared(there, table):
    there.go("#compare", "document.querySelector('table.criteria tbody tr')")
    assert there.js("document.querySelectorAll('tr.differs').length") == 0  # a copy
    found = there.js(
        f"{ROWS}.slice(0, 5).map(r => [...r.querySelectorAll('td')].map(d => d.innerText.trim()))"
    )
    assert all(row[0] == row[4] and row[-2] == "1" and row[-1] == "match" for row in found)


def test_a_text_is_read_word_by_word_and_a_word_is_edited(on_server):
    on_server.go("#text", "document.querySelector('textarea')")
    on_server.write("textarea", "a grieving cello on a grave")
    on_server.until("document.querySelectorAll('button.word').length === 6")
    answer = on_server.js(
        "fetch('api/text', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({text: 'a grieving cello on a grave'})}).then(r => r.json())"
    )
    known = [value for value in answer["families"].values() if value is not None]
    assert known
    for value in known:
        assert f"{value:+.2f}".replace("-", "\u2212") in on_server.text()
    on_server.click("button.word", "grieving")
    on_server.until("document.activeElement.matches('.words input')")
    on_server.write(".words input", "joyful")
    on_server.key("Enter")
    on_server.until(
        "document.querySelector('.compared') && document.querySelector('textarea').value.includes('joyful')"
    )
    on_server.until("[...document.querySelectorAll('th')].some(h => h.innerText.includes('Change'))")
    assert "a grieving cello on a grave" in on_server.text(".compared")
    on_server.until("decodeURIComponent(location.hash).includes('joyful')")


def test_a_text_is_tested_on_a_feature(on_server, table):
    feature = claimed(table)
    on_server.go(f"#feature/{feature}", "document.querySelector('section textarea')")
    on_server.write("section textarea", " ".join(re.findall(r"\w+", table["name"][feature])))
    on_server.click("section button", "Test")
    on_server.until("/Fires: [\\d.]+/.test(document.querySelector('.result')?.innerText)")


def test_steering_predicts_beside_random_directions(on_server, table):
    emotion = table["emotion"][claimed(table)]
    on_server.go(f"#steer?f={claimed(table)}:1&c=2", "document.querySelectorAll('tbody tr').length > 1")
    row = f"[...document.querySelectorAll('tbody tr')].find(r => r.innerText.includes({json.dumps(emotion)}))"
    before = on_server.js(f"{row}.querySelector('td b').innerText")
    on_server.js(
        "(() => { const e = document.querySelector('input[type=range]'); e.value = -2; e.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )
    on_server.until(f"{row}.querySelector('td b').innerText !== {json.dumps(before)}")
    assert before.startswith("+")
    assert "c=-2" in on_server.js("location.hash")


def test_a_note_is_kept_in_the_study_and_shown_as_text(on_server, folder, table):
    feature = alive(table)
    on_server.go(f"#feature/{feature}", "document.querySelector('form[aria-label=\"Your reading\"]')")
    on_server.write("form[aria-label='Your reading'] input[type=text]", HOSTILE)
    on_server.write("form[aria-label='Your reading'] textarea", f"{HOSTILE} \n second line")
    on_server.click("form[aria-label='Your reading'] button", "Keep")
    on_server.until("document.querySelector('form [role=status]')?.innerText.includes('notes.db')")
    assert HOSTILE in on_server.js("document.querySelector('h1').textContent")
    assert [r.name for r in Notes(folder / "notes.db").all() if r.feature == feature] == [HOSTILE]
    on_server.go("#notes", "document.querySelector('tbody tr')")
    assert HOSTILE in on_server.js("document.querySelector('tbody').textContent")
    kept = json.loads(on_server.download("button", "Download").read_text(encoding="utf-8"))
    assert HOSTILE in [r["name"] for r in kept["readings"]]
    on_server.go("#features?show=all&q=onerror", f"{ROWS}.length === 1")
    assert shown_features(on_server) == [feature]


def test_hostile_texts_are_texts(on_server):
    on_server.go("#text", "document.querySelector('textarea')")
    on_server.write("textarea", HOSTILE)
    on_server.until("document.querySelectorAll('button.word').length > 2")
    assert "onerror" in on_server.text(".words")
    on_server.go(
        "#text?t=" + "%3Cimg%20src%3Dx%20onerror%3D%22window.ran%3D1%22%3E",
        "document.querySelector('button.word')",
    )
    assert on_server.js("document.querySelectorAll('main img').length") == 0


def test_a_name_given_blind_is_scored(on_server):
    on_server.go("#blind", "document.querySelector('form input[list]')")
    assert on_server.js("document.querySelectorAll('.both li').length") > 2
    on_server.write("form input[list]", "tears: tears, despair")
    on_server.click("form button", "Score")
    on_server.until("document.querySelector('section.card figure svg')")
    assert "the program" in on_server.text("section.card")


def test_a_file_keeps_notes_in_the_browser_and_hands_them_on(in_file, table, tmp_path):
    feature = alive(table)
    in_file.go(f"#feature/{feature}", "document.querySelector('form[aria-label=\"Your reading\"]')")
    in_file.write("form[aria-label='Your reading'] input[type=text]", "my own name")
    in_file.click("form[aria-label='Your reading'] button", "Keep")
    in_file.until("document.querySelector('form [role=status]')?.innerText.includes('browser')")
    in_file.go("#notes", "document.querySelector('tbody tr')")
    assert "my own name" in in_file.text("tbody")
    file = in_file.download("button", "Download")
    notes = json.loads(file.read_text(encoding="utf-8"))
    notes["readings"].append(
        {**notes["readings"][-1], "name": "of somebody else", "time": "2031-01-01T00:00:00+00:00"}
    )
    other = tmp_path / "other.json"
    other.write_text(json.dumps(notes))
    in_file.give("input[type=file]", other)
    in_file.until("document.querySelector('[role=status]')?.innerText.includes('1 added')")
    in_file.go(f"#feature/{feature}")
    assert "of somebody else" in in_file.text("h1")


def test_hostile_notes_of_a_file_are_texts(in_file):
    in_file.go("#feature/1")
    assert HOSTILE in in_file.js("document.querySelector('h1').textContent")
    in_file.go("#notes", "document.querySelector('tbody tr')")
    assert HOSTILE in in_file.js("document.querySelector('tbody').textContent")
    assert in_file.js("document.querySelectorAll('main img, main script').length") == 0


@pytest.mark.parametrize("page_name", ["text", "steer", "blind"])
def test_a_file_says_what_takes_the_server_and_how_to_start_it(in_file, page_name):
    in_file.go(f"#{page_name}")
    assert "moodlens explore small" in in_file.text()


def test_no_serious_fault_of_access(there, table):
    axe = EXPLORER / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("axe-core is not installed: npm ci in explorer/")
    pages = ["overview", f"feature/{claimed(table)}", "text", "notes"]
    if there.base.startswith("http"):
        pages += [
            "features?show=all",
            "map",
            "text?t=a%20sad%20tune",
            "steer?family=sad:1",
            "blind",
            "compare",
        ]
    found = []
    for name in pages:
        for width, scheme in ((1280, "light"), (390, "dark")):
            there.screen(width, scheme)
            there.go(f"#{name}")
            there.js(f"{axe.read_text(encoding='utf-8')};0")
            serious = there.js(
                "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.filter(v => "
                "['serious', 'critical'].includes(v.impact)).map(v => v.id + ': ' + v.nodes[0].html.slice(0, 200)))"
            )
            found += [f"{name}, {width} pixels, {scheme}: {one}" for one in serious]
            if there.js("document.documentElement.scrollWidth") > width:
                found.append(f"{name} is wider than {width} pixels")
    assert found == []
