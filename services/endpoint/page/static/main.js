// Puts the page together: one conversation is open, and at most one answer is on its way.

import { answer } from "./answer.js";
import { endpoint } from "./api.js";
import { composer } from "./composer.js";
import { byId } from "./dom.js";
import { modelPicker } from "./models.js";
import { preferencesIn } from "./preferences.js";
import { settingsDialog, themeButton } from "./settings.js";
import { conversationList, drawer } from "./sidebar.js";
import { conversationStore, emptyConversation, titleOf } from "./store.js";
import { threadView } from "./thread.js";

const SAVE_MS = 1000;
const ENDINGS = { done: "Answer complete.", cut: "Answer cut off by the limit of tokens.", stopped: "Answer stopped.", failed: "" };

const preferences = preferencesIn(localStorage);
const store = conversationStore(localStorage);
const api = endpoint(() => preferences.get("apiKey"));

let conversation = store.read(preferences.get("current")) ?? emptyConversation();
let running = null; // what stops the answer that is on its way
let afterKey = null; // what to try again when there is an API key

const models = modelPicker(api, byId("model"), byId("standing"), {
  chosen(name) {
    preferences.set({ model: name });
    if (conversation.messages.length) {
      conversation.model = name;
      keep(conversation);
    }
  },
  failed(error) {
    if (error.status === 401 && !settings.isOpen() && afterKey === null) askForKey(() => {});
  },
});
const thread = threadView(byId("thread"), byId("scroller"), {
  edit(message, text) {
    cutBefore(message);
    say(text);
  },
  regenerate() {
    cutBefore(conversation.messages.at(-1));
    reply();
  },
  goOn: () => run(conversation.messages.at(-1)),
  enterKey: () => askForKey(() => run(conversation.messages.at(-1))),
});
const list = conversationList(byId("conversations"), {
  open(id) {
    show(store.read(id) ?? emptyConversation());
    side.close();
  },
  remove(id) {
    if (id === conversation.id) show(emptyConversation());
    store.remove(id);
    drawList();
    byId("new").focus();
  },
});
const writing = composer(
  { form: byId("composer"), box: byId("prompt"), sendButton: byId("send"), stopButton: byId("stop") },
  { send: (text) => running === null && say(text), stop },
);
const settings = settingsDialog(preferences, async () => {
  const again = afterKey;
  afterKey = null;
  await models.look();
  again?.();
});
const side = drawer(byId("sidebar"), byId("menu"), byId("curtain"), matchMedia("(max-width: 48rem)"));

function askForKey(then) {
  afterKey = then;
  settings.open(true);
}

function keep(changed) {
  changed.changed = Date.now();
  if (!store.save(changed)) announce("This browser has no room left: delete some conversations.", true);
  drawList();
}

function drawList() {
  list.show(store.all(), conversation.id);
}

function show(next) {
  stop();
  conversation = next;
  preferences.set({ current: next.id });
  models.choose(next.model ?? preferences.get("model"));
  byId("welcome").hidden = next.messages.length > 0;
  document.title = next.messages.length ? `${titleOf(next)} · Calyx` : "Calyx";
  thread.open(next);
  drawList();
}

function cutBefore(message) {
  stop();
  conversation.messages.splice(conversation.messages.indexOf(message));
}

function say(text) {
  conversation.messages.push({ role: "user", content: text });
  byId("welcome").hidden = true;
  document.title = `${titleOf(conversation)} · Calyx`;
  reply();
  return true;
}

function reply() {
  const message = { role: "assistant", content: "" };
  conversation.messages.push(message);
  run(message);
}

async function run(message) {
  const mine = conversation;
  const controller = new AbortController();
  running = controller;
  mine.model = models.current();
  let [frame, saved] = [null, 0];
  const draw = () => {
    frame = null;
    if (mine === conversation) thread.refresh(mine);
  };
  const changed = () => {
    frame ??= requestAnimationFrame(draw);
    if (performance.now() - saved > SAVE_MS) {
      saved = performance.now();
      store.save(mine);
    }
  };
  writing.show(true);
  announce("Answering.");
  await answer(api, mine, message, preferences, controller.signal, changed);
  const latest = running === controller; // or another answer has begun meanwhile
  if (latest) {
    running = null;
    writing.show(false);
    announce(ENDINGS[message.state]);
  }
  keep(mine);
  if (!latest) return;
  if (message.error?.status === 401) askForKey(() => run(message));
  if (message.state === "failed") models.look();
}

function stop() {
  running?.abort();
}

/** Tell a screen reader, and everybody if it matters. */
function announce(text, loudly = false) {
  byId("announcer").textContent = text;
  byId("announcer").classList.toggle("hidden", !loudly);
}

byId("new").addEventListener("click", () => {
  show(emptyConversation());
  side.close();
  writing.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !settings.isOpen() && !side.close()) stop();
});
addEventListener("storage", (event) => {
  if (store.owns(event.key)) drawList(); // another tab has written
});
// Later, on its way out, the browser breaks the connection off, and what was left looks like a failure.
addEventListener("beforeunload", stop);
addEventListener("pagehide", () => store.save(conversation));

themeButton(preferences);
show(conversation);
models.look();
// On a phone the focus would pull the keyboard over the page.
if (matchMedia("(pointer: fine)").matches) writing.focus();
