// Which machines answered, as a strip in which each is as wide as its share of the model.

import { element } from "./dom.js";

/** Return the strip. */
export function serverStrip(servers) {
  const rows = servers.map(({ peer_id: peer, public_name: name, start_block: start, end_block: end }) => {
    const blocks = end - start === 1 ? `block ${start}` : `blocks ${start}–${end - 1}`;
    const row = element("li", { title: peer }, element("b", {}, name || `…${peer.slice(-8)}`), ` ${blocks}`);
    row.style.flexGrow = end - start;
    return row;
  });
  return element("ol", { className: "servers", "aria-label": "Servers that answered" }, ...rows);
}
