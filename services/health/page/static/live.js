// Swaps in a fresh copy of the page's content when the exporter has news, so that reading and scrolling go on
// undisturbed. The exporter says so by server-sent events; should they not come, the page asks by itself.
"use strict";

const period = 1000 * Number(document.documentElement.dataset.refreshSeconds);
const maps = () => [...document.querySelectorAll(".scroll")];
let loaded = performance.now();
let fetching = false;

function show(lost) {
  document.getElementById("lost").hidden = !lost;
}

async function refresh() {
  if (fetching) return;
  fetching = true;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const scrolled = new Map(maps().map((map) => [map.id, map.scrollLeft]));
    const focused = document.activeElement?.id;
    document.title = fresh.title;
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    maps().forEach((map) => { map.scrollLeft = scrolled.get(map.id) ?? 0; });
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    loaded = performance.now();
    show(false);
  } catch {
    show(true);
  } finally {
    fetching = false;
  }
}

function grow() {
  const age = document.getElementById("age");
  if (!age) return;
  const seconds = Math.round(Number(age.dataset.seconds) + (performance.now() - loaded) / 1000);
  if (seconds < 60) age.textContent = `${seconds} s ago`;
}

const events = new EventSource("events");
events.addEventListener("look", refresh);
events.addEventListener("error", () => show(true));
events.addEventListener("open", () => show(false));
setInterval(grow, 1000);
setInterval(() => { if (performance.now() - loaded > 3 * period) refresh(); }, period);
