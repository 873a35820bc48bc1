// Copies texts, also where browsers keep their clipboard from pages that came without TLS.

import { action } from "./dom.js";

const THANKS_MS = 1500;

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const focused = document.activeElement;
    const box = document.createElement("textarea");
    box.className = "hidden";
    box.value = text;
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
    focused?.focus();
  }
}

/** Return a button that copies what `text` returns. */
export function copyButton(text, label = "Copy") {
  const button = action("copy", "Copy", async () => {
    await copy(text());
    button.lastChild.textContent = "Copied";
    setTimeout(() => { button.lastChild.textContent = "Copy"; }, THANKS_MS);
  }, { "aria-label": label });
  return button;
}
