"""Sentences and clauses of a long text: a caption of 49 words mentions its mood once.

Rule-based on purpose: captions and prompts need abbreviations, tempi and tag lists right,
not the prose that trained sentence splitters know, and a rule can be read and tested.
"""

import re
from bisect import bisect_left
from itertools import pairwise

SHORT_TEXT = 8
"""Words; a text no longer than this is one segment whatever its punctuation."""
LONG_SENTENCE = 30
"""Words; a sentence longer than this is split at clauses."""
SHORT_CLAUSE = 5
"""Words; clause splitting leaves no piece shorter than this."""
SHORT_SENTENCE = 3
"""Words; a shorter sentence ("Wow!") joins the one before it."""

# A full stop after one of these does not end a sentence.
_ABBREVIATION = re.compile(
    r"feat|ft|vs|mr|mrs|ms|dr|st|jr|sr|prof|approx|ca|cf|eg|ie|e\.g|i\.e|a\.k\.a|fig|incl|esp|instr|arr|perf|prod"
)
# ... nor after one of these when a digit follows ("no. 5", "bars pt. 2").
_BEFORE_NUMBER = re.compile(r"no|nr|pt|ch|vol|op|pp")

# Possessive (++), and never begun inside a run: a run of 100,000 stops is read once, not from each of its ends.
_STOP = re.compile(
    r"""
    (?P<stop> (?<![.!?…]) [.!?…]++ | [。！？]++ )
    (?P<close> ["'”’)\]]* )              # closing quotes and brackets belong to the sentence
    (?= \s | $ | (?<=[。！？]) | (?P<glued> ["“(]?[A-Z][a-z']|["“(]?[AI]\s ) )  # "drums.The": the space was forgotten
    """,
    re.VERBOSE,
)
_NEW_LINE = re.compile(r"\r\n|[\r\n\u2028\u2029]")
_BULLET = re.compile(r"(?:[-*•–]|\(?\d{1,2}[.)])\s+")
_GOES_ON = re.compile(r"(?:The|It|A|An|This|There|In|He|She|They|We|You|And|But)\b")
_DOTTED = re.compile(r"(?:[a-z]\.)+[a-z]")  # "u.s", "r.e.m"
_NEXT_CLAUSE = re.compile(
    r"(?:and|but|while|whereas|with|which|who|then|as|so|that|although|though|there|it|the)\b", re.I
)
_SUBORDINATE = re.compile(r"(?:while|whereas|although|though|because|which|but)\b", re.I)


def segments(text: str) -> list[str]:
    """The sentences of a text, very long ones cut at clauses; in time that grows with the text, not with its square.

    Nothing but white space is dropped: the segments, joined and without white space, are the text
    without white space. A text of at most ``SHORT_TEXT`` words is one segment; an empty one has none.
    """
    words = text.split()
    if len(words) <= SHORT_TEXT:
        return [" ".join(words)] if words else []
    sentences = [sentence.split() for line in _lines(text) for sentence in _sentences(line)]
    return [piece for sentence in _join_short(sentences) for piece in _clauses(sentence)]


def _lines(text: str) -> list[str]:
    """Lines with single spaces, where a line wrapped in the middle of a sentence is put together again."""
    lines: list[list[str]] = []
    for line in _NEW_LINE.split(text):
        line = " ".join(line.split())
        if not line:
            continue
        wrapped = lines and line[0].islower() and lines[-1][-1][-1] not in ".!?…:;。！？"
        if wrapped and not _BULLET.match(f"{lines[-1][0][:8]}{' ' * (len(lines[-1]) > 1)}"):
            lines[-1].append(line)
        else:
            lines.append([line])
    return [" ".join(parts) for parts in lines]


def _sentences(line: str) -> list[str]:
    sentences, start = [], 0
    for match in _STOP.finditer(line):
        if _ends_sentence(line, start, match):
            sentences.append(line[start : match.end()].strip())
            start = match.end() + (line[match.end() : match.end() + 1] == " ")
    return [*sentences, line[start:]] if start < len(line) else sentences


def _ends_sentence(line: str, start: int, match: re.Match[str]) -> bool:
    after = line[match.end() : match.end() + 12].lstrip()
    if match["stop"] != ".":
        return not (match["stop"] in ("...", "…") and after[:1].islower())
    end = match.start() - line.endswith(" ", start, match.start())
    space = line.rfind(" ", start, end)
    last = line[max(space + 1, start) : end]
    word = last.strip("\"'“(").lower()
    if not word or (word.isdigit() and space < 0):  # "1. Piano": the number of a list
        return False
    if _ABBREVIATION.fullmatch(word) or (_BEFORE_NUMBER.fullmatch(word) and after[:1].isdigit()):
        return False
    initial = len(word) == 1 and word.isalpha() and last.strip("\"'“(").isupper()
    if initial or _DOTTED.fullmatch(word):
        # "J. S. Bach" goes on; "key of C. The drums" and "from the U.S. It has" end.
        return _GOES_ON.match(after) is not None
    return True


def _join_short(sentences: list[list[str]]) -> list[list[str]]:
    joined: list[list[str]] = []
    for words in sentences:
        if joined and min(len(words), len(joined[-1])) < SHORT_SENTENCE:
            joined[-1].extend(words)
        else:
            joined.append(words)
    return joined


def _clauses(words: list[str]) -> list[str]:
    """Cut a sentence of more than ``LONG_SENTENCE`` words at the best clause mark nearest its middle, and so on."""
    if len(words) <= LONG_SENTENCE:
        return [" ".join(words)]
    # For each kind of mark, best first, the words before which a sentence may be cut.
    marks: tuple[list[int], ...] = ([], [], [], [])
    for place in range(1, len(words)):
        before, word = words[place - 1], words[place]
        if before[-1] in ";:" or word in "-–—":
            marks[0].append(place)
        if before[-1] == ",":
            marks[2].append(place)
            if _NEXT_CLAUSE.match(word):
                marks[1].append(place)
        if _SUBORDINATE.match(word):
            marks[3].append(place)
    cuts, open_parts = {0, len(words)}, [(0, len(words))]
    while open_parts:
        begin, end = open_parts.pop()
        cut = _best_cut(marks, begin, end)
        if cut is not None:
            cuts.add(cut)
            open_parts += [(begin, cut), (cut, end)]
    ends = sorted(cuts)
    return [" ".join(words[a:b]) for a, b in pairwise(ends)]


def _best_cut(marks: tuple[list[int], ...], begin: int, end: int) -> int | None:
    if end - begin <= LONG_SENTENCE:
        return None
    for places in marks:
        middle = bisect_left(places, (begin + end) / 2)
        nearest = places[max(0, middle - 1) : middle + 1]
        near = [place for place in nearest if begin + SHORT_CLAUSE <= place <= end - SHORT_CLAUSE]
        if near:
            return min(near, key=lambda place: (abs(2 * place - begin - end), place))
    return None
