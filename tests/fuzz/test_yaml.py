"""Any YAML of a user's gives plain values, or an error without its words; no tag is carried out."""

from __future__ import annotations

import re

import pytest
from hypothesis import strategies as st

from perfctl.inventory.yaml_text import load_yaml, texts_of_yaml
from perfctl.redaction import texts_in
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import TEXTS, mutated

_PIECES = st.sampled_from(
    [
        *(
            "a: ",
            "b: ",
            "- ",
            "\n",
            "\n",
            "\n  ",
            "\n    ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            ": ",
            "? ",
            "| ",
            ">-\n  ",
        ),
        *(
            "&a ",
            "*a",
            "&b ",
            "*b",
            "<<: ",
            "!vault ",
            "!unsafe ",
            "!!str ",
            "!!int ",
            "!!float ",
            "!!bool ",
            "!!set ",
        ),
        *(
            "!!timestamp ",
            "!!binary ",
            "!!python/object/apply:os.system ",
            "!!python/name:os.system ",
            "---\n",
            "...\n",
        ),
        *(
            "2001-99-99",
            "0x_",
            "0b",
            "1:99",
            "9" * 5000,
            ".inf",
            "~",
            "yes",
            '"',
            "'",
            "#",
            "%YAML 9.9\n",
            "*hunter22",
            "!hunter22 x",
            "&hunter22 ",
            "hunter22: ",
        ),
    ]
)
YAML = st.lists(_PIECES | TEXTS, max_size=14).map("".join)


@inputs("inventories", 0.249)
@given(
    YAML | mutated("password: s3cret\nlist: [&x {a: b}, *x]\n<<: {c: d}\nvault: !vault |\n  $ANSIBLE_VAULT\n")
)
def test_any_yaml_gives_plain_values_and_all_its_texts(text: str) -> bool:
    try:
        value = load_yaml(text)
    except ValueError as error:
        assert "hunter22" not in str(error)
        value = None
    try:
        texts = {found for _, found in texts_of_yaml("name", text)}
    except ValueError:
        assert value is None
        return False
    if not re.search("!!(omap|pairs)", text):
        assert {found for _, found in texts_in("name", value)} <= texts
    return value is not None


# ---- what grows, and what PyYAML has no words for ----------------------------------------------------

BOMB = "a: &a [x123456]\n" + "".join(
    f"k{n}: &{n} [{', '.join([f'*{n - 1}' if n else '*a'] * 9)}]\n" for n in range(12)
)


def test_aliases_that_stand_for_billions_of_values_are_read_once_or_refused() -> None:
    with bounded():
        assert {text for _, text in texts_of_yaml("f", BOMB)} == {"x123456"}
        with pytest.raises(ValueError, match="aliases stand for more than 1,000,000 values"):
            load_yaml(BOMB)
        with pytest.raises(ValueError, match="aliases"):
            load_yaml("&a [*a]")
        assert list(texts_of_yaml("f", "&a [*a, b]")) == [("f", "b")]


def test_a_text_that_two_keys_share_is_found_under_both() -> None:
    text = "harmless: &x [word-of-mouth]\npassword: *x\n"
    expected = [("harmless", "word-of-mouth"), ("password", "word-of-mouth")]
    assert list(texts_of_yaml("f", text)) == expected
    assert list(texts_in("f", load_yaml(text))) == expected


@pytest.mark.parametrize(
    "text", ["*hunter22", "!hunter22 x", "[&hunter22 a, &hunter22 b, *hunter23", "%TAG ! hunter22"]
)
def test_what_is_no_yaml_is_refused_without_the_words_of_a_secret(text: str) -> None:
    with pytest.raises(ValueError, match="no YAML") as caught:
        load_yaml(f"password: {text}" if "%" not in text else text)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ['!!int ""', "!!timestamp x", "!!bool x", "2001-99-99", "9" * 5000, "[" * 20_000, "!!float x"],
    ids=lambda text: text[:16],
)
def test_what_yaml_has_no_error_for_is_no_yaml(text: str) -> None:
    with bounded(), pytest.raises(ValueError, match="no YAML"):
        load_yaml(text)
