"""Messages of a chat to the tokens that a model was trained to read them as, by the template of its tokenizer."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from services.common.errors import InvalidInput
from services.endpoint.conversation import require_unicode
from services.endpoint.errors import WrongField

_PROBE = "calyx_probe"
_PROBE_TOOL = {
    "type": "function",
    "function": {"name": _PROBE, "description": "", "parameters": {"type": "object", "properties": {}}},
}
_SHOWN = 200


class ChatTemplate:
    """The chat template of a model.

    Args:
        tokenizer: the model's.
        name: the model's, for messages.

    Raises:
        InvalidInput: the model has none, as one that was not trained on chats.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        if not tokenizer.chat_template:
            raise InvalidInput(
                f"model {name} has no chat template", "send a plain prompt, or use a model made for chats"
            )
        self._tokenizer, self._name = tokenizer, name

    def encode(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        continued: bool = False,
    ) -> list[int]:
        """Return the tokens of a chat, up to where the next answer begins.

        Args:
            messages: each with ``role`` and ``content``, a text; of tools also ``tool_calls`` and ``tool_call_id``.
                The role ``developer`` is taken as ``system`` where the template lacks it.
            tools: functions that the model may call, in OpenAI's form.
            continued: go on with the last message instead of answering it.

        Raises:
            InvalidInput: the template takes no such messages or no tools; the error says why.
        """
        if not messages:
            raise WrongField("messages: there are none", "send one at least")
        if tools and not self.takes_tools:
            raise WrongField(f"tools: the chat template of {self._name} takes none", "leave them out")
        if any(map(_of_tools, messages)) and not self.takes_tools:
            raise WrongField(
                f"messages: the chat template of {self._name} takes no calls of tools", "leave them out"
            )
        if not self._takes_developer:
            messages = [
                {**message, "role": "system"} if message.get("role") == "developer" else message
                for message in messages
            ]
        text = self._render(messages, tools, continued)
        require_unicode(text)
        # The template writes what begins a text itself
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    @property
    def takes_tools(self) -> bool:
        """Whether the template tells the model about tools; one that ignores them loses them without a word."""
        try:
            return _PROBE in self._render([{"role": "user", "content": "?"}], [_PROBE_TOOL], False)
        except InvalidInput:
            return False

    @property
    def _takes_developer(self) -> bool:
        return "developer" in str(self._tokenizer.chat_template)

    def _render(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], continued: bool
    ) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=not continued,
                continue_final_message=continued,
            )
        except Exception as error:  # a template is a program of the model's authors: it raises what they like
            raise WrongField(
                f"messages: the chat template of {self._name} does not take them: {str(error)[:_SHOWN]}"
            ) from None
        return text


def _of_tools(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "tool" or bool(message.get("tool_calls"))
