// The Markdown that models write, as blocks. Only reads: `rich_text.js` draws what is found here.

const DEEPEST = 8; // a list in a list in a list…: beyond this it is plain text
const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]{0,40})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.+?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,8})(?:[-*+]|(\d{1,9})[.)])\s+(?=\S)/;
const TABLE_LINE = /^\s*\|.*\|\s*$/;
const TABLE_RULE = /^\s*\|(?:\s*:?-+:?\s*\|)+\s*$/;

/**
 * Return the blocks of a text: `kind`, `source` (the lines it was read from) and, by kind, `text`, `language`,
 * `level`, `blocks`, `items`, `rows`.
 */
export function parse(text, depth = 0) {
  const lines = text.replace(/\t/g, "    ").split("\n");
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [block, end] = read(lines, at, depth);
    found.push({ ...block, source: `${block.kind}\n${lines.slice(at, end).join("\n")}` });
    at = end;
  }
  return found;
}

function read(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return fence(lines, at);
  const heading = HEADING.exec(line);
  if (heading) return [{ kind: "heading", level: heading[1].length, text: heading[2] }, at + 1];
  if (RULE.test(line)) return [{ kind: "rule" }, at + 1];
  if (isTable(lines, at)) return table(lines, at);
  if (depth < DEEPEST && QUOTE.test(line)) return quote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines, end, depth)) end += 1;
  return [{ kind: "paragraph", text: lines.slice(at, end).join("\n").trim() }, end];
}

function begins(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line) || HEADING.test(line) || RULE.test(line) || isTable(lines, at)) return true;
  return depth < DEEPEST && (QUOTE.test(line) || ITEM.test(line));
}

/** A fence that is not closed yet holds all that follows: its end is still to be written. */
function fence(lines, at) {
  const [, mark, language] = FENCE.exec(lines[at]);
  const closing = (line) => line.trim().length >= mark.length && !line.trim().replaceAll(mark[0], "");
  let end = at + 1;
  while (end < lines.length && !closing(lines[end])) end += 1;
  return [{ kind: "code", language, text: lines.slice(at + 1, end).join("\n") }, Math.min(end + 1, lines.length)];
}

function quote(lines, at, depth) {
  let end = at;
  while (end < lines.length && QUOTE.test(lines[end])) end += 1;
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, "")).join("\n");
  return [{ kind: "quote", blocks: parse(inner, depth + 1) }, end];
}

function list(lines, at, depth) {
  const [, indent, number] = ITEM.exec(lines[at]);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const line = lines[end];
    const marker = ITEM.exec(line);
    const deeper = line.length - line.trimStart().length > indent.length;
    if (marker && !deeper && (marker[2] === undefined) === (number === undefined)) {
      items.push([line.slice(marker[0].length)]);
    } else if (items.length && (deeper || (!line.trim() && continues(lines, end, indent.length)))) {
      items.at(-1).push(line.slice(Math.min(indent.length + 2, line.length - line.trimStart().length)));
    } else {
      break;
    }
    end += 1;
  }
  const blocks = items.map((item) => parse(item.join("\n"), depth + 1));
  return [{ kind: "list", start: number === undefined ? null : Number(number), items: blocks }, end];
}

/** Whether a list goes on after an empty line. */
function continues(lines, at, indent) {
  const next = lines.slice(at).find((line) => line.trim());
  return next !== undefined && (next.length - next.trimStart().length > indent || ITEM.test(next));
}

function isTable(lines, at) {
  return TABLE_LINE.test(lines[at]) && TABLE_RULE.test(lines[at + 1] ?? "");
}

function table(lines, at) {
  let end = at;
  while (end < lines.length && TABLE_LINE.test(lines[end])) end += 1;
  const [head, , ...rows] = lines.slice(at, end).map((line) => line.trim().slice(1, -1).split("|").map((cell) => cell.trim()));
  return [{ kind: "table", head, rows }, end];
}
