from tests.unit.helper.helper_fakes import FakeTerminal, Written


def test_a_step_has_a_time_stamp_and_its_details_stand_below_it() -> None:
    steps = Written()
    steps.step("Token format is correct")
    steps.detail("Joining private network")
    assert steps.text == "[16:28:14] Token format is correct\n           Joining private network\n"


def test_passing_states_are_left_out_of_files() -> None:
    steps = Written()
    steps.live("downloading 3 %")
    assert steps.text == ""


def test_on_a_terminal_the_next_line_replaces_a_passing_state() -> None:
    steps = Written(FakeTerminal())
    steps.live("downloading 3 %")
    steps.step("Downloaded")
    assert steps.text == "           downloading 3 %\r\x1b[K[16:28:14] Downloaded\n"


def test_something_long_begins_with_a_line_that_stays_in_a_file_and_passes_on_a_terminal() -> None:
    file, terminal = Written(), Written(FakeTerminal())
    for steps in (file, terminal):
        steps.begin("server: installing")
    assert file.text == "           server: installing\n"
    assert terminal.text == "           server: installing"
