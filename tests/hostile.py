"""Texts that try to become something else in a page: markup, metadata, links, further lines."""

from hypothesis import strategies as st

HOSTILE = [
    *(
        "<script>",
        "</td>",
        "<!--",
        "# Heading",
        "---",
        "===",
        "\n",
        "\r\n",
        "\u2028",
        "\n\n# ",
        "`",
        "``",
        "```",
        "~~~",
    ),
    *("[a](javascript:alert)", "![a](b)", "[^1]", "http://evil.com/x", "www.evil.com", "a@evil.com", "<http://a.b>"),
    *(
        "|",
        "\\",
        "\\|",
        "*a*",
        "__a__",
        "~~a~~",
        "$x$",
        "&lt;",
        "&#60;",
        "\x1b[31m",
        "\u202e",
        "\ud800",
        "license: mit",
    ),
    *("{{ 1 }}", "{% raw %}", ": ", "'", '"', "1.", "- ", "+ ", "> ", "    ", "\t", "a", "fear", " "),
]
TEXTS = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=3), max_size=8).map("".join)
