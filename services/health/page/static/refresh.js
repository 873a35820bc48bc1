// Swaps in a fresh copy of the page's content, so that reading and scrolling go on undisturbed.
"use strict";

const period = 1000 * Number(document.documentElement.dataset.refreshSeconds);
const maps = () => [...document.querySelectorAll(".scroll")];

async function refresh() {
  const lost = document.getElementById("lost");
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const scrolled = maps().map((map) => map.scrollLeft);
    document.title = fresh.title;
    document.querySelector("main").replaceWith(fresh.querySelector("main"));
    maps().forEach((map, index) => { map.scrollLeft = scrolled[index] ?? 0; });
    lost.hidden = true;
  } catch {
    lost.hidden = false;
  }
  setTimeout(refresh, period);
}

setTimeout(refresh, period);
