// The list of conversations, and the drawer that it is on a narrow screen.

import { element, icon } from "./dom.js";
import { titleOf } from "./store.js";

/** Return a list in `root`; `does` has what its buttons do: `open(id)` and `remove(id)`. */
export function conversationList(root, does) {
  function row(conversation, current) {
    const open = element("button", { className: "title", type: "button" }, titleOf(conversation));
    if (conversation.id === current) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => does.open(conversation.id));
    return element("li", {}, open, removal(conversation));
  }

  /** The first click asks, the second one removes. */
  function removal(conversation) {
    const title = titleOf(conversation);
    const button = element("button", { className: "remove", type: "button", "aria-label": `Delete “${title}”` }, icon("delete"));
    button.addEventListener("click", () => {
      if (button.dataset.sure) {
        does.remove(conversation.id);
        return;
      }
      button.dataset.sure = "asked";
      button.setAttribute("aria-label", `Really delete “${title}”?`);
      button.replaceChildren("Delete?");
    });
    button.addEventListener("blur", () => {
      delete button.dataset.sure;
      button.setAttribute("aria-label", `Delete “${title}”`);
      button.replaceChildren(icon("delete"));
    });
    return button;
  }

  return {
    show(conversations, current) {
      root.replaceChildren(...conversations.map((conversation) => row(conversation, current)));
    },
  };
}

/** Let `button` pull `panel` over the page where the screen is narrow; returns `close`. */
export function drawer(panel, button, curtain, narrow) {
  function set(open) {
    panel.classList.toggle("open", open);
    panel.inert = narrow.matches && !open;
    curtain.hidden = !(narrow.matches && open);
    button.setAttribute("aria-expanded", String(open));
    if (open) panel.querySelector("button").focus();
  }

  const close = () => {
    if (!panel.classList.contains("open")) return false;
    set(false);
    if (narrow.matches) button.focus();
    return true;
  };
  button.addEventListener("click", () => set(true));
  curtain.addEventListener("click", close);
  narrow.addEventListener("change", () => set(false));
  set(false);
  return { close };
}
