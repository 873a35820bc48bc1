"""Markdown as models write it, half-written too: what becomes which element."""

from tests.browser.chat import Chat

_DRAW = """async (texts) => {
  const { show } = await import("./static/rich_text.js");
  const box = document.createElement("div");
  for (const text of texts) show(box, text);
  const outline = (node) => node.nodeType === Node.TEXT_NODE ? node.data
    : `${node.localName}(${[...node.childNodes].map(outline).join("|")})`;
  for (const button of box.querySelectorAll("figcaption")) button.remove();
  return [...box.childNodes].map(outline).join(" ");
}"""

WRITTEN = {
    "plain text": "p(plain text)",
    "two\nlines\n\nnext": "p(two\nlines) p(next)",
    "# One\n#### Four": "h3(One) h6(Four)",
    "a **b *c* d** `e*f*`": "p(a |strong(b |em(c)| d)| |code(e*f*))",
    "snake_case_name and 2 * 3 * 4": "p(snake_case_name and 2 * 3 * 4)",
    "_so_ it __is__ ~~not~~": "p(em(so)| it |strong(is)| |del(not))",
    r"\*no\*": "p(*|no|*)",
    "**open": "p(**open)",
    "- a\n- b\n  more\n\n  para\n- c": "ul(li(a)|li(b\nmore|p(para))|li(c))",
    "3. a\n4. b": "ol(li(a)|li(b))",
    "- a\n  - b\n    - c\n- d": "ul(li(a|ul(li(b|ul(li(c)))))|li(d))",
    "text\n- item\n# head": "p(text) ul(li(item)) h3(head)",
    "1. a\n- b": "ol(li(a)) ul(li(b))",
    "> a\n> b\nc": "blockquote(p(a\nb)) p(c)",
    "---": "hr()",
    "```js\nlet a = `**`;\n\n# no\n```\nafter": "figure(pre(code(let a = `**`;\n\n# no))) p(after)",
    "~~~\n```\n~~~": "figure(pre(code(```)))",
    "```py\nprint(": "figure(pre(code(print()))",
    "| a | b |\n|---|:-:|\n| 1 | **2** |": (
        "div(table(thead(tr(th(a)|th(b)))|tbody(tr(td(1)|td(strong(2))))))"
    ),
    "| a | b": "p(| a | b)",
    "1986. was a year": "ol(li(was a year))",
    "": "",
}


def test_what_is_written_becomes_elements(chat: Chat) -> None:
    drawn = {text: chat.page.evaluate(_DRAW, [text]) for text in WRITTEN}
    assert drawn == WRITTEN


def test_a_text_that_grows_is_drawn_as_if_it_had_come_at_once(chat: Chat) -> None:
    growing = {text: [text[:end] for end in range(len(text) + 1)] for text in WRITTEN}
    drawn = {text: chat.page.evaluate(_DRAW, steps) for text, steps in growing.items()}
    assert drawn == WRITTEN


def test_no_text_takes_long(chat: Chat) -> None:
    # A time that grew with the square of the length would be minutes here, and end by the limit of the test
    for mark in ("**a ", "`", "> ", "- ", "[a](", "_", "|", "*a", "\n\n1. "):
        chat.page.evaluate(_DRAW, [mark * (20_000 // len(mark))])
