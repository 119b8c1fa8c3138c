"""Texts of others in a page: whatever they hold, they are shown as they are and become nothing else."""

import html as html_entities
from html.parser import HTMLParser

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from hostile import TEXTS
from mer_hf.errors import MerHfError
from mer_hf.escaping import check_name, code, code_block, html, is_web_address, markdown, one_line

RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def shown(source):
    """What a reader sees of inline Markdown, and the kinds of its tokens."""
    blocks = RENDERER.parse(source)
    assert [block.type for block in blocks] == ["paragraph_open", "inline", "paragraph_close"], source
    kinds = {token.type for token in blocks[1].children}
    return "".join(token.content for token in blocks[1].children), kinds


def seen(text):
    """A text as it should be read: one line, white space as a browser folds it."""
    return " ".join(one_line(text).split(" "))


@given(TEXTS)
@example("a|`b`|http://c")
@example("\\`www.evil.com")
def test_a_text_in_a_line_of_markdown_is_shown_as_it_is(text):
    found, kinds = shown(f"x {markdown(text)} x")
    assert found.split() == f"x {seen(text)} x".split()
    assert kinds <= {"text", "text_special", "code_inline"}


@given(TEXTS)
def test_a_text_as_code_is_shown_as_it_is(text):
    found, kinds = shown(f"x {code(text)} x")
    assert found.split() == f"x {seen(text)} x".split()
    assert kinds <= {"text", "text_special", "code_inline"}


@given(TEXTS, st.sampled_from([markdown, code]))
def test_a_text_in_a_table_keeps_to_its_cell(text, escape):
    table = f"| x | y |\n|---|---|\n| a{escape(text)}b | z |\n"
    tokens = RENDERER.parse(table)
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert (
        "".join(child.content for child in cells[2].children).split()
        == f"a{seen(text) if escape is markdown else seen(text).strip()}b".split()
    )
    assert {child.type for cell in cells for child in cell.children} <= {"text", "text_special", "code_inline"}


@given(TEXTS)
def test_nothing_that_links_by_itself_is_left_outside_of_code(text):
    linking = MarkdownIt("commonmark").enable("table")
    (inline,) = [token for token in linking.parse(f"x {markdown(text)}") if token.type == "inline"]
    plain = "".join(child.content for child in inline.children if child.type != "code_inline")
    assert not any(mark in plain for mark in ("://", "@", "www.evil"))


@given(TEXTS)
def test_a_block_of_code_ends_where_it_should(text):
    tokens = RENDERER.parse(f"{code_block(one_line(text), 'yaml')}\n\nafter\n")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content == one_line(text) + "\n"


@given(TEXTS)
def test_a_text_in_html_is_text(text):
    found = []

    class Reader(HTMLParser):
        handle_data = staticmethod(found.append)

        def handle_starttag(self, tag, attrs):
            assert (tag, [name for name, _ in attrs]) == ("p", ["title"])
            assert attrs[0][1] == one_line(text)

    reader = Reader(convert_charrefs=True)
    reader.feed(f'<p title="{html(text)}">{html(text)}</p>')
    reader.close()
    assert "".join(found) == one_line(text)
    assert html_entities.unescape(html(text)) == one_line(text)


@given(TEXTS)
def test_one_line_is_one_line_and_passes_where_names_are_checked(text):
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert check_name(line, "a name") == line
    assert yaml.safe_load(yaml.safe_dump({line: line}, allow_unicode=True)) == {line: line}
    line.encode()


@pytest.mark.parametrize("char", "\n\r\x00\x1b\u2028\u202e\x85\x7f\ud800", ids=ascii)
def test_a_name_of_several_lines_or_with_control_characters_is_refused(char):
    with pytest.raises(MerHfError, match=r"results\.json: classes: .* has a line break or a control character"):
        check_name(f"a{char}b", "results.json: classes")


@pytest.mark.parametrize("name", ["surprise", "悲しみ", "نمی\u200cخواهم", "s 01|x", "<b>", "👩\u200d🔬"])
def test_a_name_in_any_script_passes(name):
    assert check_name(name, "a name") == name


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("https://corpus.org", True),
        ("http://corpus.org:8080/a/b?c=d&e=%20#f", True),
        ("javascript:alert(1)", False),
        ("https://a.b\nlicense: mit", False),
        ("https://a.b c", False),
        ("see https://a.b", False),
        ("", False),
    ],
)
def test_a_web_address_is_nothing_else(text, is_one):
    assert is_web_address(text) == is_one
