"""Sentences and clauses of a long text: a caption of 49 words mentions its mood once.

Rule-based on purpose: captions and prompts need abbreviations, tempi and tag lists right,
not the prose that trained sentence splitters know, and a rule can be read and tested.
"""

import re

SHORT_TEXT = 8
"""Words; a text no longer than this is one segment whatever its punctuation."""
LONG_SENTENCE = 30
"""Words; a sentence longer than this is split at clauses."""
SHORT_CLAUSE = 5
"""Words; clause splitting leaves no piece shorter than this."""
SHORT_SENTENCE = 3
"""Words; a shorter sentence ("Wow!") joins the one before it."""

# A full stop after one of these does not end a sentence.
_ABBREVIATIONS = frozenset(
    [
        "feat",
        "ft",
        "vs",
        "mr",
        "mrs",
        "ms",
        "dr",
        "st",
        "jr",
        "sr",
        "prof",
        "approx",
        "ca",
        "cf",
        "eg",
        "ie",
        "e.g",
        "i.e",
        "a.k.a",
        "fig",
        "incl",
        "esp",
        "instr",
        "arr",
        "perf",
        "prod",
    ]
)
# ... nor after one of these when a digit follows ("no. 5", "bars pt. 2").
_BEFORE_NUMBER = frozenset(["no", "nr", "pt", "ch", "vol", "op", "pp"])

_STOP = re.compile(
    r"""
    (?P<stop> [.!?…]+ | [。！？]+ )       # a run of stops
    (?P<close> ["'”’)\]]* )               # closing quotes and brackets belong to the sentence
    (?= \s | $ | (?<=[。！？]) | (?P<glued> ["“(]?[A-Z][a-z']|["“(]?[AI]\s ) )  # "drums.The": the space was forgotten
    """,
    re.VERBOSE,
)
_LINE = re.compile(r"[ \t]*(?:\r\n|\r|\n|\u2028|\u2029)+[ \t]*")
_BULLET = re.compile(r"(?:[-*•–]|\(?\d{1,2}[.)])\s+")
# Where a long sentence may be cut: before or after the match, best first.
_CLAUSES = (
    re.compile(r"(?<=[;:])\s+|\s+(?=[-–—]\s)"),
    re.compile(
        r"(?<=,)\s+(?=(?:and|but|while|whereas|with|which|who|then|as|so|that|although|though|there|it|the)\b)",
        re.I,
    ),
    re.compile(r"(?<=,)\s+"),
    re.compile(r"\s+(?=(?:while|whereas|although|though|because|which|but)\b)", re.I),
)


def segments(text: str) -> list[str]:
    """The sentences of a text, very long ones cut at clauses.

    Nothing but white space is dropped: the segments, joined and without white space, are the text
    without white space. A text of at most ``SHORT_TEXT`` words is one segment; an empty one has none.
    """
    text = text.strip()
    if not text:
        return []
    if _words(text) <= SHORT_TEXT:
        return [" ".join(text.split())]
    sentences = [sentence for line in _lines(text) for sentence in _sentences(line)]
    pieces = [piece for sentence in _join_short(sentences) for piece in _clauses(sentence)]
    return [" ".join(piece.split()) for piece in pieces]


def _words(text: str) -> int:
    return len(text.split())


def _lines(text: str) -> list[str]:
    """Lines, where a line wrapped in the middle of a sentence is put together again."""
    lines: list[str] = []
    for line in _LINE.split(text):
        if not line:
            continue
        wrapped = lines and line[0].islower() and lines[-1][-1] not in ".!?…:;。！？"
        if wrapped and not _BULLET.match(lines[-1]):
            lines[-1] = f"{lines[-1]} {line}"
        else:
            lines.append(line)
    return lines


def _sentences(line: str) -> list[str]:
    found, start = [], 0
    for match in _STOP.finditer(line):
        if _ends_sentence(line, start, match):
            found.append(line[start : match.end()])
            start = match.end()
    found.append(line[start:])
    return [sentence for sentence in (item.strip() for item in found) if sentence]


def _ends_sentence(line: str, start: int, match: re.Match[str]) -> bool:
    if match["stop"] != ".":
        return not (match["stop"] in ("...", "…") and line[match.end() :].lstrip()[:1].islower())
    before = line[start : match.start()].split()
    word = before[-1].strip("\"'“(").lower() if before else ""
    after = line[match.end() :].lstrip()
    if not word or (word.isdigit() and len(before) == 1):  # "1. Piano": the number of a list
        return False
    if word in _ABBREVIATIONS or (word in _BEFORE_NUMBER and after[:1].isdigit()):
        return False
    initial = len(word) == 1 and word.isalpha() and before[-1].strip("\"'“(").isupper()
    dotted = re.fullmatch(r"(?:[a-z]\.)+[a-z]", word) is not None  # "u.s", "r.e.m"
    if initial or dotted:
        # "J. S. Bach" goes on; "key of C. The drums" and "from the U.S. It has" end.
        return re.match(r"(?:The|It|A|An|This|There|In|He|She|They|We|You|And|But)\b", after) is not None
    return True


def _join_short(sentences: list[str]) -> list[str]:
    joined: list[str] = []
    for sentence in sentences:
        if joined and (_words(sentence) < SHORT_SENTENCE or _words(joined[-1]) < SHORT_SENTENCE):
            joined[-1] = f"{joined[-1]} {sentence}"
        else:
            joined.append(sentence)
    return joined


def _clauses(sentence: str) -> list[str]:
    """Cut a sentence of more than ``LONG_SENTENCE`` words at the best clause mark nearest its middle."""
    n_words = _words(sentence)
    if n_words <= LONG_SENTENCE:
        return [sentence]
    for mark in _CLAUSES:
        cuts = []
        for match in mark.finditer(sentence):
            left = _words(sentence[: match.start()])
            if SHORT_CLAUSE <= left <= n_words - SHORT_CLAUSE:
                cuts.append((abs(2 * left - n_words), match.start(), match.end()))
        if cuts:
            _, end, start = min(cuts)
            return [*_clauses(sentence[:end]), *_clauses(sentence[start:])]
    return [sentence]
