"""HTML in which nothing but what the module made is markup."""

from __future__ import annotations

from edgemat.verify.page.markup import Column, Html, bullets, details, el, join, mark, table

NASTY = "<script>alert('x')</script>\"&\x00\ud800"


def test_text_and_attributes_are_escaped_and_markup_is_not_escaped_twice() -> None:
    inner = el("b", NASTY)
    whole = el("p", inner, title=NASTY)
    assert "<script" not in whole
    assert whole.count("&lt;script&gt;") == 2
    assert '"&quot;' not in whole
    assert "&amp;lt;" not in whole
    assert "\x00" not in whole
    assert "\ud800" not in whole
    assert isinstance(whole, Html)


def test_strings_that_are_joined_with_markup_do_not_become_markup() -> None:
    assert join(["<i>", el("br"), None]) == "&lt;i&gt;<br>"
    assert join(["a", "b"], ", ") == "a, b"
    mixed = el("i", "x") + "<b>"  # a plain string again, so it is escaped
    assert el("p", mixed) == "<p>&lt;i&gt;x&lt;/i&gt;&lt;b&gt;</p>"


def test_attributes_may_be_left_out_or_stand_alone() -> None:
    assert el("details", open_=True, hidden=False, id=None) == "<details open></details>"
    assert el("circle", cx=1.5) == '<circle cx="1.5"/>'
    assert el("meta", name="a", http_equiv="b") == '<meta name="a" http-equiv="b">'


def test_a_table_has_a_caption_and_heads_and_scrolls_in_itself() -> None:
    found = table("Sizes <1>", ["name", Column("MB", right=True)], [("onnx", "1.5")])
    assert found.startswith('<div class="scroll" tabindex="0" role="region" aria-label="Sizes &lt;1&gt;">')
    assert "<caption><span>Sizes &lt;1&gt;</span></caption>" in found
    assert '<th scope="row">onnx</th><td class="right">1.5</td>' in found


def test_verdicts_are_words_and_not_colour_alone() -> None:
    for tone in ("good", "bad", "warn", "idle"):
        assert el("p", mark(tone, "said")).endswith("said</span></p>")


def test_lists_and_what_is_folded() -> None:
    assert bullets([]) == ""
    assert bullets(["a"]) == "<ul><li>a</li></ul>"
    assert details("more", "text") == "<details><summary>more</summary>text</details>"
