from scripts.helper.buildlog import BuildProgress
from tests.unit.helper.helper_fakes import Written

LOG = """\
#0 building with "default" instance using docker driver
#1 [server internal] load build definition from Dockerfile
#1 transferring dockerfile: 2.1kB done
#1 DONE 9.0s
#7 [server wheels 2/3] RUN --mount=type=cache,target=/root/.cache pip install   -r requirements.txt
#8 [server wheels 3/3] COPY services /app
#7 0.812 Collecting torch
#7 31.100 Installing torch
#7 DONE 41.2s
#8 CACHED
#9 [vpn 1/2] RUN true
#9 DONE 0.1s
#10 [server] exporting to image
#10 exporting layers 7.5s done
#10 DONE 7.6s
"""


def shown(log: str) -> list[str]:
    steps = Written()
    progress = BuildProgress(steps)
    for line in log.splitlines():
        progress.feed(line)
    return [line.strip() for line in steps.text.splitlines()]


def test_a_flood_becomes_one_line_when_a_step_begins_and_one_when_it_took_long() -> None:
    assert shown(LOG) == [
        "server: RUN pip install -r requirements.txt",
        "server: RUN pip install -r requirements.txt (41 s)",
        "server: exporting to image (8 s)",
    ]


def test_what_was_built_before_shows_nothing() -> None:
    assert shown("#8 [server 3/3] COPY services /app\n#8 CACHED\n") == []


def test_unknown_lines_are_passed_over() -> None:
    assert shown("#x\n\nWARN[0000] something\n#3 sha256:abc 1.2MB / 3MB\n#99 DONE 77.0s\n") == []


def test_long_instructions_are_cut_to_a_line() -> None:
    [line] = shown(f"#2 [server 1/1] RUN {'x' * 500}\n#2 1.0 working\n")
    assert len(line) <= 90
    assert line.endswith("…")
