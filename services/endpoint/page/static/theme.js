// Not a module: it runs before the first paint, so that a chosen theme never flashes in the other one.
"use strict";

try {
  const { theme } = JSON.parse(localStorage.getItem("calyx.preferences") ?? "{}");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // What cannot be read counts as not chosen.
}
