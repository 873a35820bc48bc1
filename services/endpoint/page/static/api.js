// The endpoint, as this page sees it. Addresses are relative: the page calls nobody but whom it came from.

import { events } from "./events.js";

/** What the endpoint answered instead of what was asked for. */
export class EndpointError extends Error {
  constructor(message, status = null) {
    super(message);
    this.status = status;
  }
}

const UNREACHABLE = "The endpoint does not answer. Is it running, and is this machine connected?";
const BROKE_OFF = "The connection to the endpoint broke off.";

/**
 * Return functions that call the endpoint.
 * `key` returns the API key to send, or an empty text.
 */
export function endpoint(key) {
  async function call(path, options = {}) {
    const headers = { ...options.headers };
    if (key()) headers.Authorization = `Bearer ${key()}`;
    const response = await translated(fetch(path, { ...options, headers, cache: "no-store" }), UNREACHABLE);
    if (!response.ok) throw await refusal(response);
    return response;
  }

  /** Return how each model stands: `name`, `ready`, `num_blocks`, `missing_blocks`, `problem`. */
  async function models() {
    const response = await call("api/v2/models");
    return (await translated(response.json(), BROKE_OFF)).models;
  }

  /** Yield the pieces of an answer. Aborting `signal` ends the answer on the servers too. */
  async function* chat(request, signal) {
    const response = await call("v1/chat/completions", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
      signal,
    });
    const pieces = events(response.body);
    try {
      for (;;) {
        const { value, done } = await translated(pieces.next(), BROKE_OFF);
        if (done) return;
        if (value.error) throw new EndpointError(value.error.message, Number(value.error.code) || null);
        yield value;
      }
    } finally {
      await pieces.return();
    }
  }

  return { models, chat };
}

/** Browsers call a connection that failed a TypeError, each in words of its own. */
async function translated(promise, message) {
  try {
    return await promise;
  } catch (error) {
    throw error.name === "AbortError" ? error : new EndpointError(message);
  }
}

async function refusal(response) {
  const text = await response.text().catch(() => "");
  let message = text.trim().slice(0, 500);
  try {
    const { error } = JSON.parse(text);
    message = error.message ?? error;
  } catch {
    // Not JSON: the text itself says it, or a proxy's page that says nothing to the reader.
    if (message.startsWith("<")) message = "";
  }
  return new EndpointError(String(message || `The endpoint answered ${response.status}.`), response.status);
}
