// Conversations, kept in this browser. Each has an item of its own, so that two tabs do not overwrite each other.

const PREFIX = "calyx.conversation.";
const TITLE_LENGTH = 60;

/** Return a conversation that nobody has said anything in. */
export function emptyConversation() {
  const random = crypto.getRandomValues(new Uint32Array(2));
  return { id: `${Date.now().toString(36)}-${random.join("")}`, changed: Date.now(), model: null, messages: [] };
}

/** Return what a list shows for a conversation. */
export function titleOf(conversation) {
  const said = conversation.messages.find((message) => message.role === "user")?.content ?? "";
  const line = said.trim().replace(/\s+/g, " ");
  if (!line) return "New conversation";
  return line.length > TITLE_LENGTH ? `${line.slice(0, TITLE_LENGTH).trimEnd()}…` : line;
}

/** Return access to the conversations in `storage`. */
export function conversationStore(storage) {
  function read(id) {
    try {
      const found = JSON.parse(storage.getItem(PREFIX + id));
      if (found?.id !== id || !Array.isArray(found.messages)) return null;
      // A page that was closed or reloaded in the middle of an answer has stopped it.
      for (const message of found.messages) if (message.state === "running") message.state = "stopped";
      return found;
    } catch {
      return null;
    }
  }

  /** Return all conversations, the latest first; what cannot be read is left out. */
  function all() {
    const ids = Object.keys(storage).filter((name) => name.startsWith(PREFIX)).map((name) => name.slice(PREFIX.length));
    return ids.map(read).filter(Boolean).sort((one, two) => two.changed - one.changed);
  }

  /** Keep a conversation; returns false if the browser has no room for it. */
  function save(conversation) {
    if (!conversation.messages.length) return true;
    try {
      storage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
      return true;
    } catch {
      return false;
    }
  }

  return { all, read, save, remove: (id) => storage.removeItem(PREFIX + id), owns: (name) => name?.startsWith(PREFIX) };
}
