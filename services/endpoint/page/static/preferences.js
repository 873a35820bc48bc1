// What the user has chosen for all conversations.

const NAME = "calyx.preferences";
const DEFAULTS = { theme: "auto", model: null, current: null, apiKey: "", system: "", temperature: 0.7, maxTokens: 512 };

/** Return the preferences in `storage`: properties to read, and `set` to change some. */
export function preferencesIn(storage) {
  let values = DEFAULTS;
  try {
    values = { ...DEFAULTS, ...JSON.parse(storage.getItem(NAME) ?? "{}") };
  } catch {
    // What cannot be read counts as not chosen.
  }
  return {
    get: (name) => values[name],
    set(changes) {
      values = { ...values, ...changes };
      try {
        storage.setItem(NAME, JSON.stringify(values));
      } catch {
        // Without room in the browser, choices last as long as the page.
      }
    },
  };
}
