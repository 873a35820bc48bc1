// The box that messages are written in.

/** Wire it; `send` is called with what was written. Returns `focus` and `show(running)`. */
export function composer({ form, box, sendButton, stopButton }, { send, stop }) {
  function fit() {
    box.style.height = "auto";
    box.style.height = `${box.scrollHeight}px`;
  }

  box.addEventListener("input", fit);
  box.addEventListener("keydown", (event) => {
    // While an input method composes a character, Enter belongs to it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = box.value.trim();
    if (!text || !send(text)) return;
    box.value = "";
    fit();
  });
  stopButton.addEventListener("click", stop);

  return {
    focus: () => box.focus({ preventScroll: true }),
    show(running) {
      const hadFocus = document.activeElement === stopButton || document.activeElement === sendButton;
      sendButton.hidden = running;
      stopButton.hidden = !running;
      if (hadFocus) (running ? stopButton : box).focus();
    },
  };
}
