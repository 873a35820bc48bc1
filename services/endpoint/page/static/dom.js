// Makes elements. Text goes in as text only; nothing on this page turns a string into markup.

/** Return a new element; `properties` are assigned to it, `children` are elements or texts. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** Return one of the page's drawings. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Return a small button with a drawing and a word. */
export function action(name, word, click, properties = {}) {
  const button = element("button", { type: "button", className: "action", ...properties }, icon(name), word);
  button.addEventListener("click", click);
  return button;
}

export const byId = (id) => document.getElementById(id);
