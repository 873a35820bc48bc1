// Draws a conversation's messages, each with what can be done with it.

import { copyButton } from "./copying.js";
import { action, element } from "./dom.js";
import { show } from "./rich_text.js";
import { serverStrip } from "./servers.js";

const NEAR_END_PIXELS = 80;
const CUT = { cut: "The limit of tokens ended this answer.", stopped: "Stopped." };

/**
 * Return a view of messages in `root`, which scrolls in `scroller`.
 *
 * `does` has what buttons do: `edit(message, text)`, `regenerate()`, `goOn()`, `enterKey()`.
 */
export function threadView(root, scroller, does) {
  const views = new Map();

  /** Show a conversation from anew. */
  function open(conversation) {
    views.clear();
    root.replaceChildren();
    refresh(conversation);
    scroller.scrollTop = scroller.scrollHeight;
  }

  /** Show what is new of it. */
  function refresh({ messages }) {
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PIXELS;
    for (const [message, view] of views) {
      if (!messages.includes(message)) {
        view.remove();
        views.delete(message);
      }
    }
    const running = messages.at(-1)?.state === "running";
    for (const message of messages) {
      if (!views.has(message)) {
        views.set(message, message.role === "user" ? question(message) : reply());
        root.append(views.get(message));
      }
      if (message.role === "user") views.get(message).classList.toggle("still", !running);
      else fill(views.get(message), message, message === messages.at(-1));
    }
    // Who has scrolled up reads there, and is left alone.
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  }

  function question(message) {
    const text = element("div", { className: "text" }, message.content);
    const actions = element("div", { className: "actions" }, action("edit", "Edit", () => edit(view, message)), copyButton(() => message.content, "Copy message"));
    const view = element("article", { className: "message user", "aria-label": "You" }, text, actions);
    return view;
  }

  function edit(view, message) {
    const kept = [...view.childNodes];
    const box = element("textarea", { value: message.content, rows: 3, "aria-label": "Edit message" });
    const close = () => {
      view.replaceChildren(...kept);
      view.querySelector("button").focus();
    };
    const send = () => {
      const text = box.value.trim();
      if (text) does.edit(message, text);
    };
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        event.stopPropagation();
        close();
      } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      }
    });
    view.replaceChildren(box, element("div", { className: "actions" }, button("Send", send, "primary"), button("Cancel", close)));
    box.focus();
  }

  function reply() {
    const part = (className, properties = {}) => element("div", { className, ...properties });
    const view = element("article", { className: "message assistant", "aria-label": "Answer" }, part("text"), part("problem"), part("facts"), part("actions"));
    return view;
  }

  function fill(view, message, isLast) {
    const [text, problem, facts, actions] = view.children;
    const running = message.state === "running";
    // A screen reader waits for the end of the answer instead of reading letters.
    view.setAttribute("aria-busy", String(running));
    view.dataset.state = message.state;
    show(text, message.content);
    if (message.error) {
      problem.setAttribute("role", "alert");
      if (problem.firstChild?.textContent !== message.error.text) problem.replaceChildren(element("p", {}, message.error.text));
    } else {
      problem.removeAttribute("role");
      problem.replaceChildren();
    }
    facts.replaceChildren(...factsOf(message));
    const key = `${message.state} ${isLast} ${Boolean(message.content)} ${message.error?.status}`;
    if (actions.dataset.for === key) return; // buttons that stay keep the focus
    actions.dataset.for = key;
    actions.replaceChildren(...(running ? [] : actionsOf(message, isLast)));
  }

  function actionsOf(message, isLast) {
    const found = [];
    if (message.error?.status === 401 && isLast) found.push(button("Enter API key", does.enterKey, "primary"));
    if (isLast && message.content && message.state !== "done") found.push(action("continue", "Continue", does.goOn));
    if (isLast) found.push(action("again", message.state === "failed" ? "Try again" : "Regenerate", does.regenerate));
    if (message.content) found.push(copyButton(() => message.content, "Copy answer"));
    return found;
  }

  return { open, refresh };
}

function button(word, click, className = "quiet") {
  const made = element("button", { type: "button", className }, word);
  made.addEventListener("click", click);
  return made;
}

function factsOf({ state, stats, servers }) {
  const facts = [];
  if (state === "running" && !stats?.tokens) facts.push(element("span", { className: "waiting" }, "Waiting for the first token"));
  if (CUT[state]) facts.push(element("span", {}, CUT[state]));
  if (stats?.tokens) {
    const count = `${stats.exact ? "" : "about "}${stats.tokens} token${stats.tokens === 1 ? "" : "s"}`;
    const words = [stats.rate && `${stats.rate.toFixed(1)} tokens/s`, `first after ${stats.firstToken.toFixed(2)} s`, count];
    facts.push(element("span", { className: "figures" }, words.filter(Boolean).join(" · ")));
  }
  if (servers?.length) facts.push(serverStrip(servers));
  return facts;
}
