"""Change real texts and documents at random: they reach code that noise never reaches."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NUMBERS = st.one_of(
    st.integers(0, 10**400).map(str),
    st.floats().map(str),
    st.floats(0, 1e20).map(lambda value: f"{value:.2f}"),
    st.sampled_from(
        [
            "",
            "-1",
            "1_000",
            "1,000",
            "0x10",
            "١٢",
            "²",
            "1.2.3",
            ".",
            "1e309",
            "1e-400",
            "0" * 5000,
            "9" * 5000,
        ]
    ),
)
"""What may stand where a number does, numbers among them."""

HOSTILE = st.sampled_from(
    [
        *(
            "",
            " ",
            "\t",
            "\x00",
            "\x1b[2J\x1b]0;x\x07",
            "\u202e",
            "\ud800",
            "\x85",
            "\u2028",
            "\r",
            "²",
            "١٢",
        ),
        *(
            "$(touch EXECUTED)",
            "`touch EXECUTED`",
            "; touch EXECUTED",
            "\ntouch EXECUTED\n",
            "' touch EXECUTED '",
        ),
        *(
            "{{ lookup('pipe', 'touch EXECUTED') }}",
            "{% for x in y %}",
            "${HOME}",
            "%n%s%p",
            "../../../etc/passwd",
        ),
        *("=1+1", "+1", "-1", "@x", "|a|b|", "<b>x</b>", "[x](http://x)", "--privileged", "-oProxyCommand=x"),
        *(
            "9" * 5000,
            "1e400",
            "nan",
            "inf",
            "-0",
            "x" * 3000,
            "(" * 2000,
            "\\" * 2000,
            " " * 2000,
            "true",
            "null",
        ),
    ]
)
"""Texts that mean something to a shell, a template, a terminal, a spreadsheet or a parser."""

TEXTS = HOSTILE | st.text(max_size=20)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 70_000)
    | st.sampled_from([2**63, -(2**63) - 1, 2**64, 10**400])
    | st.floats()
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """Return a text with some of its lines changed, left out, doubled or moved, or cut off."""
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(lines) - 1, 0)))
        change = draw(st.sampled_from(["number", "line", "word", "insert", "drop", "double", "move", "cut"]))
        line = lines[place] if lines else ""
        if change in ("number", "word"):
            words = line.replace("=", "= ").split(" ")
            places = [i for i, word in enumerate(words) if change == "word" or word[:1].isdigit()]
            if places:
                index = draw(st.sampled_from(places))
                words[index] = draw(NUMBERS | HOSTILE) + ("\n" if words[index].endswith("\n") else "")
            lines[place : place + 1] = [" ".join(words).replace("= ", "=")]
        elif change == "line":
            lines[place : place + 1] = [draw(TEXTS) + "\n"]
        elif change == "insert":
            lines.insert(place, draw(TEXTS) + "\n")
        elif change == "drop":
            del lines[place : place + 1]
        elif change == "double":
            lines.insert(place, line)
        elif change == "move":
            del lines[place : place + 1]
            lines.insert(draw(st.integers(0, len(lines))), line)
        else:
            lines = ["".join(lines)[: draw(st.integers(0, len(text)))]]
    return "".join(lines)


@st.composite
def mutated_json(draw: st.DrawFn, value: Any) -> Any:
    """Return a document of lists and mappings with some of its values, keys and items changed."""
    for _ in range(draw(st.integers(1, 3))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if not isinstance(value, (dict, list)) or not value or draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    found: Any = dict(value) if isinstance(value, dict) else list(value)
    key = draw(st.sampled_from(sorted(found) if isinstance(found, dict) else range(len(found))))
    change = draw(st.sampled_from(["inside", "inside", "inside", "inside", "drop", "add", "rename"]))
    if change == "inside":
        found[key] = _changed(draw, found[key])
    elif change == "drop":
        del found[key]
    elif isinstance(found, list):
        found.insert(key, draw(JSON) if change == "rename" else found[key])
    else:
        found[draw(TEXTS)] = draw(JSON) if change == "add" else found.pop(key)
    return found
