// The dialog of settings, and the choice of light and dark.

import { byId } from "./dom.js";

const THEMES = ["auto", "light", "dark"];

/** Wire the dialog; `saved` is called after a change. Returns `open`, which may ask for the API key. */
export function settingsDialog(preferences, saved) {
  const dialog = byId("settings");
  const fields = { apiKey: byId("api-key"), system: byId("system"), temperature: byId("temperature"), maxTokens: byId("max-tokens") };

  function open(asksKey = false) {
    if (dialog.open) return; // what is being typed stays
    for (const [name, field] of Object.entries(fields)) field.value = preferences.get(name);
    byId("key-field").hidden = !asksKey && !preferences.get("apiKey");
    dialog.showModal();
    (asksKey ? fields.apiKey : fields.system).focus();
  }

  byId("settings-open").addEventListener("click", () => open());
  byId("settings-cancel").addEventListener("click", () => dialog.close());
  byId("settings-form").addEventListener("submit", () => {
    preferences.set({
      apiKey: fields.apiKey.value.trim(),
      system: fields.system.value,
      temperature: fields.temperature.valueAsNumber,
      maxTokens: fields.maxTokens.valueAsNumber,
    });
    saved();
  });
  return { open, isOpen: () => dialog.open };
}

/** Wire the button that goes through the themes. */
export function themeButton(preferences) {
  function show() {
    const theme = preferences.get("theme");
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    byId("theme-name").textContent = `Theme: ${theme}`;
  }
  byId("theme").addEventListener("click", () => {
    const next = (THEMES.indexOf(preferences.get("theme")) + 1) % THEMES.length;
    preferences.set({ theme: THEMES[next] });
    show();
  });
  show();
}
