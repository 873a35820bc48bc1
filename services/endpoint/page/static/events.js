// Server-sent events, as OpenAI's API streams them: `data: {…}` and at the end `data: [DONE]`.

/** Yield the lines of a byte stream, without their ends. */
async function* lines(body) {
  let rest = "";
  // A reader and not `for await`: not every browser iterates over streams.
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) yield part.endsWith("\r") ? part.slice(0, -1) : part;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Yield each event's JSON. Throws if the stream ends before it says that it is done. */
export async function* events(body) {
  let data = [];
  for await (const line of lines(body)) {
    if (line.startsWith("data:")) {
      data.push(line.slice(5).trimStart());
    } else if (line === "" && data.length) {
      const text = data.join("\n");
      if (text === "[DONE]") return;
      yield JSON.parse(text);
      data = [];
    }
  }
  throw new TypeError("the stream ended early");
}
