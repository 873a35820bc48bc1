// Draws a model's Markdown. Every word of it becomes a text node; the tags are ours.

import { copyButton } from "./copying.js";
import { element } from "./dom.js";
import { parse } from "./markdown.js";

// Spans are bounded, so that marks without a partner cost little however long the text is.
const INLINE = new RegExp(
  [
    /\\(?<escaped>[\\`*_{}[\]()#+\-.!~|>])/,
    /(?<tick>`{1,4})(?!`)(?<code>.{1,2000}?)(?<!`)\k<tick>(?!`)/,
    /\*\*(?<strong>[^\s*](?:.{0,2000}?\S)?)\*\*/,
    /(?<!\w)__(?<strong2>[^\s_](?:.{0,2000}?\S)?)__(?!\w)/,
    /\*(?<em>[^\s*](?:.{0,2000}?[^\s*])?)\*(?!\*)/,
    /(?<!\w)_(?<em2>[^\s_](?:.{0,2000}?[^\s_])?)_(?!\w)/,
    /~~(?<del>\S(?:.{0,2000}?\S)?)~~/,
    /\[(?<label>[^[\]\n]{1,500})\]\((?<href>https?:\/\/[^\s()<>]{1,2000})\)/,
  ]
    .map((part) => part.source)
    .join("|"),
  "gs",
);

const drawn = new WeakMap();

/** Show `text` in `container`; what is there already and has not changed stays, selections included. */
export function show(container, text) {
  const blocks = parse(text);
  const before = drawn.get(container) ?? [];
  let same = 0;
  while (same < before.length && before[same] === blocks[same]?.source) same += 1;
  while (container.childNodes.length > same) container.lastChild.remove();
  container.append(...blocks.slice(same).map(draw));
  drawn.set(container, blocks.map((block) => block.source));
}

function draw(block) {
  switch (block.kind) {
    case "code":
      return code(block);
    case "heading":
      // The page and its conversation have headings of their own above those of an answer.
      return element(`h${Math.min(block.level + 2, 6)}`, {}, ...inline(block.text));
    case "rule":
      return element("hr");
    case "quote":
      return element("blockquote", {}, ...block.blocks.map(draw));
    case "list":
      return list(block);
    case "table":
      return table(block);
    default:
      return element("p", {}, ...inline(block.text));
  }
}

function code({ language, text }) {
  const head = element("figcaption", {}, element("span", {}, language || "code"), copyButton(() => text, "Copy code"));
  return element("figure", { className: "code" }, head, element("pre", { tabIndex: 0 }, element("code", {}, text)));
}

function list({ start, items }) {
  const rows = items.map((blocks) => {
    const tight = blocks[0]?.kind === "paragraph" ? inline(blocks.shift().text) : [];
    return element("li", {}, ...tight, ...blocks.map(draw));
  });
  return start === null ? element("ul", {}, ...rows) : element("ol", { start }, ...rows);
}

function table({ head, rows }) {
  const row = (tag, cells) => element("tr", {}, ...cells.map((cell) => element(tag, {}, ...inline(cell))));
  const body = element("tbody", {}, ...rows.map((cells) => row("td", cells)));
  return element("div", { className: "table", tabIndex: 0 }, element("table", {}, element("thead", {}, row("th", head)), body));
}

function inline(text) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > at) parts.push(text.slice(at, match.index));
    parts.push(span(match.groups));
    at = match.index + match[0].length;
  }
  if (at < text.length) parts.push(text.slice(at));
  return parts;
}

function span({ escaped, code, strong, strong2, em, em2, del, label, href }) {
  if (escaped) return escaped;
  if (code) return element("code", {}, code.trim() || code);
  if (href) return element("a", { href, target: "_blank", rel: "noopener noreferrer", title: href }, label);
  const [tag, inner] = [["strong", strong ?? strong2], ["em", em ?? em2], ["del", del]].find(([, found]) => found);
  return element(tag, {}, ...inline(inner));
}
