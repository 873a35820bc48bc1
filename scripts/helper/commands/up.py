"""``calyx up``: from a bare machine to a model that answers; reads as its table of contents."""

from dataclasses import dataclass

from scripts.helper.chat import Tally, conversation
from scripts.helper.context import Context, command_line
from scripts.helper.engine import Engine
from scripts.helper.overview import ENDPOINT_PORT, HEALTH_PORT, PROMETHEUS_PORT, address
from scripts.helper.ports import wanted_ports
from scripts.helper.preparation import build, check_machine, make_compose, make_stack, prepare
from scripts.helper.stack import Timer
from services.common.errors import CalyxError, Refused, Unavailable
from services.common.settings import StackSettings, SwarmSettings

_PROMPT = "The capital of France is"
_ANSWER_TOKENS = 16


@dataclass(frozen=True)
class UpOptions:
    """What the command line said.

    Attributes:
        yes: install what is missing without asking.
        build: build the images, which takes seconds when nothing changed.
        timeout: the most seconds to wait for services and the first answer.
        monitoring: add Prometheus.
    """

    yes: bool
    build: bool
    timeout: float
    monitoring: bool


def run(context: Context, options: UpOptions) -> int:
    """Set up what is missing, start the stack, and show a first completion."""
    model = SwarmSettings.load().model
    ports = wanted_ports(context.pool, monitoring=options.monitoring)
    context.compose_log.unlink(missing_ok=True)

    engine = prepare(context, yes=options.yes)
    check_machine(context, engine, ports)
    compose = make_compose(context, engine, monitoring=options.monitoring)
    if options.build:
        build(context, compose)

    context.steps.step("Starting the stack")
    if context.pool is not None:
        context.pools.save(context.pool)
        if context.pool.paused:
            context.steps.detail(f"paused: {command_line(context.project, 'resume')} shares blocks again")
    timer = Timer.starting(options.timeout)
    make_stack(context, engine, compose, timer).bring_up()
    if context.pool is None or context.pool.answers:
        greet(context, engine, model, timer)
    if prometheus := address(engine.containers(context.project), PROMETHEUS_PORT):
        context.steps.detail(f"prometheus  {prometheus}")
    return 0


def greet(context: Context, engine: Engine, model: str, timer: Timer) -> None:
    """Ask the model something and say where everything is."""
    containers = engine.containers(context.project)
    endpoint, health = address(containers, ENDPOINT_PORT), address(containers, HEALTH_PORT)
    if endpoint is None:
        raise Unavailable("the endpoint's port is not published", "is compose.yaml's vpn service changed?")
    try:
        tally = _first_answer(int(endpoint.rpartition(":")[2]), model, timer)
    except Refused as error:
        context.steps.step("The endpoint works; it was not asked anything")
        context.steps.detail(str(error))
    else:
        context.steps.step(f"{model} answers")
        context.steps.detail(f"{_PROMPT}{' '.join(tally.text.split(' ')).rstrip()}".replace("\n", " "))
        context.steps.detail(
            f"{tally.tokens} tokens in {tally.seconds:.1f} s, {tally.tokens_per_second:.1f} tokens/s"
        )
    context.steps.step("Calyx is up")
    context.steps.detail(f"endpoint  {endpoint}  (ws://{endpoint.removeprefix('http://')}/api/v2/generate)")
    if health:
        context.steps.detail(f"health    {health}")
    context.steps.detail(f"model     {model}")


def _first_answer(port: int, model: str, timer: Timer) -> Tally:
    """Ask until the model answers: servers may still be finding each other."""
    key = StackSettings.load().api_key
    problem: list[CalyxError] = []
    answer: list[Tally] = []

    def answers() -> bool:
        tally = Tally()
        try:
            with conversation(port, model, max_length=64, key=key) as session:
                for _ in session.ask(_PROMPT, tally, max_new_tokens=_ANSWER_TOKENS):
                    pass
        except Unavailable as error:
            problem.append(error)
            return False
        answer.append(tally)
        return True

    if not timer.until(answers):
        raise problem[-1]
    return answer[-1]
