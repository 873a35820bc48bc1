// One answer: what is asked for, and how the message grows with what comes.

/**
 * Ask for an answer and write it into `message`, an element of `conversation.messages`.
 *
 * A message that has a text already is continued. When this ends, `message.state` is "done", "cut" (the limit of
 * tokens ended it), "stopped" (by `signal`) or "failed" (`message.error` says why); it never throws.
 * `changed` is called whenever there is something new to show; `now` returns milliseconds.
 */
export async function answer(api, conversation, message, preferences, signal, changed, now = () => performance.now()) {
  const begin = now();
  let [first, last, pieces, counted, finish] = [null, null, 0, null, null];
  const measure = () => {
    const tokens = counted ?? pieces;
    message.stats = {
      tokens,
      exact: counted !== null,
      firstToken: first === null ? null : (first - begin) / 1000,
      rate: tokens > 1 && last > first ? (1000 * (tokens - 1)) / (last - first) : null,
    };
  };
  const asked = request(conversation, message, preferences);
  Object.assign(message, { state: "running", error: null, servers: [], stats: null });
  changed();
  try {
    for await (const piece of api.chat(asked, signal)) {
      const choice = piece.choices[0];
      if (choice?.delta?.content) {
        message.content += choice.delta.content;
        last = now();
        first ??= last;
        pieces += 1;
      }
      finish = choice?.finish_reason ?? finish;
      if (piece.calyx?.servers?.length) message.servers = piece.calyx.servers;
      counted = piece.usage?.completion_tokens ?? counted;
      measure();
      changed();
    }
    message.state = finish === "length" ? "cut" : "done";
  } catch (error) {
    message.state = signal.aborted ? "stopped" : "failed";
    if (!signal.aborted) message.error = { text: error.message, status: error.status ?? null };
  }
  changed();
}

/** Return the request: everything that was said up to `message`, with its own beginning if it has one. */
function request(conversation, message, preferences) {
  const before = conversation.messages.slice(0, conversation.messages.indexOf(message));
  const messages = before
    // A question that was never answered is not said again.
    .filter(({ role, content }, index) => content && !(role === "user" && before[index + 1]?.content === ""))
    .map(({ role, content }) => ({ role, content }));
  if (preferences.get("system").trim()) messages.unshift({ role: "system", content: preferences.get("system") });
  const asked = {
    ...(conversation.model && { model: conversation.model }),
    messages,
    temperature: preferences.get("temperature"),
    max_tokens: preferences.get("maxTokens"),
  };
  if (!message.content) return asked;
  messages.push({ role: "assistant", content: message.content });
  return { ...asked, continue_final_message: true };
}
