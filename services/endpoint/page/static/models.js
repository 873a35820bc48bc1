// The choice of a model, and whether it can be used now.

import { element } from "./dom.js";

const LOOK_MS = 10_000;

/** Return blocks in words, such as "0–14, 20". */
export function rangeWords(ranges) {
  return ranges
    .map(({ start_block: start, end_block: end }) => (end - start === 1 ? String(start) : `${start}–${end - 1}`))
    .join(", ");
}

function missingWords({ missing_blocks: missing, num_blocks: count }) {
  return `no server has blocks ${rangeWords(missing)} of ${count}`;
}

/**
 * Keep `select` and `line` as the endpoint's models are, looking every few seconds while the page is seen.
 *
 * `chosen` is called with the name when the user picks one, `failed` with the error when nobody answers.
 * Returns `current` (a name or null), `choose` and `look`.
 */
export function modelPicker(api, select, line, { chosen, failed }) {
  let models = [];
  let wanted = null;

  function draw() {
    const known = models.some((model) => model.name === wanted);
    const options = models.map((model) => {
      const selected = model.name === wanted;
      // What the chosen one lacks is said beside it.
      const note = model.ready || selected ? "" : ` — ${model.missing_blocks.length ? missingWords(model) : "not ready"}`;
      return element("option", { value: model.name, selected }, model.name + note);
    });
    // A conversation's model that is served no more stays named: silently asking another one would be a lie.
    if (wanted !== null && !known) options.push(element("option", { value: wanted, selected: true }, `${wanted} — not served here`));
    // Rewriting the list closes it under the hand of who chooses just now.
    const same = options.length === select.length && options.every((option, at) => option.text === select[at].text && option.selected === select[at].selected);
    if (!same) select.replaceChildren(...options);
    select.disabled = !options.length;
    say(models.find((model) => model.name === wanted));
  }

  function say(model) {
    const text = !model ? "Not served here"
      : model.ready ? `Ready, ${model.num_blocks} blocks`
      : model.missing_blocks.length ? `Not ready: ${missingWords(model)}`
      : `Not ready: ${model.problem}`;
    line.dataset.state = model?.ready ? "ready" : "missing";
    if (line.textContent !== text) line.textContent = text;
  }

  async function look() {
    try {
      models = await api.models();
      wanted ??= models[0]?.name ?? null;
      draw();
    } catch (error) {
      line.dataset.state = "missing";
      line.textContent = error.message;
      failed(error);
    }
  }

  select.addEventListener("change", () => {
    wanted = select.value;
    draw();
    chosen(wanted);
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  setInterval(() => { if (!document.hidden) look(); }, LOOK_MS);

  return {
    look,
    current: () => wanted,
    choose(name) {
      wanted = name ?? wanted;
      if (models.length) draw();
    },
  };
}
