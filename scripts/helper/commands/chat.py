"""``calyx chat``: talk with the model from a terminal."""

import sys
from dataclasses import dataclass
from typing import TextIO

from scripts.helper.chat import Conversation, Tally, conversation
from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.overview import ENDPOINT_PORT, address
from services.common.errors import InvalidInput, Unavailable
from services.common.settings import StackSettings, SwarmSettings

# Only the endpoint's side knows a model's chat template, and this protocol does not offer it. In this form,
# chat.petals.dev's own, models of every family answer; the first paragraph is the answer, for small models
# go on with both sides of the talk.
_QUESTION = "Human: {}\n\nAssistant:"
_END_OF_ANSWER = "\n\n"
# Without a stop sequence the endpoint sends the answer as one piece; this one hardly occurs in a text.
_END_OF_TEXT = "</s>"


@dataclass(frozen=True)
class ChatOptions:
    """What the command line said.

    Attributes:
        prompt: the only question; None reads questions from standard input.
        model: hub name; None takes the settings'.
        raw: continue the text as it is instead of answering it as a question.
        max_length: the most tokens that the whole conversation may have.
        temperature: of sampling; None always takes the likeliest token.
    """

    prompt: str | None
    model: str | None
    raw: bool
    max_length: int
    temperature: float | None


def run(context: Context, options: ChatOptions) -> int:
    """Answer one question, or questions until the end of the input."""
    engine = Engine.connect(context.environment)
    endpoint = address(engine.containers(context.project), ENDPOINT_PORT)
    if endpoint is None:
        raise Unavailable(
            f"{context.project} does not run", f"start it by {command_line(context.project, 'up')}"
        )
    chosen = context.pool.model if context.pool else None
    model = options.model or chosen or SwarmSettings.load().model
    port, key = int(endpoint.rpartition(":")[2]), StackSettings.load().api_key
    with conversation(port, model, options.max_length, key) as session:
        if options.prompt is not None:
            answer(session, options.prompt, options, sys.stdout)
        elif sys.stdin.isatty():
            _dialogue(session, options)
        else:
            answer(session, sys.stdin.read(), options, sys.stdout)
    return 0


def _dialogue(session: Conversation, options: ChatOptions) -> None:
    sys.stdout.write("Ask something; an empty line or Ctrl-D ends.\n")
    while True:
        sys.stdout.write("> ")
        sys.stdout.flush()
        question = sys.stdin.readline().strip()
        if not question:
            sys.stdout.write("\n")
            return
        answer(session, question, options, sys.stdout)


def answer(session: Conversation, question: str, options: ChatOptions, out: TextIO) -> None:
    """Print an answer as it comes, and its speed when a person watches."""
    if not question.strip():
        raise InvalidInput(
            "the prompt is empty", 'give one: ./scripts/calyx chat "Name the capital of France."'
        )
    prompt, stop = (question, _END_OF_TEXT) if options.raw else (_QUESTION.format(question), _END_OF_ANSWER)
    sampling = {} if options.temperature is None else {"do_sample": 1, "temperature": options.temperature}
    tally = Tally()
    # White space is shown once something follows it, so that an answer ends where its last word does.
    held, begun = "", options.raw
    for piece in session.ask(prompt, tally, max_length=options.max_length, stop_sequence=stop, **sampling):
        text = held + piece if begun else piece.lstrip()
        shown = text.rstrip()
        held, begun = text[len(shown) :], begun or bool(shown)
        out.write(shown)
        out.flush()
    out.write("\n")
    if out.isatty():
        out.write(f"({tally.tokens} tokens, {tally.tokens_per_second:.1f} tokens/s)\n")
