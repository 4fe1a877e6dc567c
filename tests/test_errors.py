"""Errors: what a person reads, and the exit code."""

import pytest
from invoke.exceptions import Exit

from ops import errors


def test_an_error_shows_cause_and_remedy_and_carries_its_code() -> None:
    error = errors.OpsError("the disk is full", "free some space")

    assert isinstance(error, Exit)
    assert error.message == "error: the disk is full\n  try: free some space"
    assert error.code == errors.FAILED == 1


def test_a_refusal_has_the_code_that_says_nothing_was_touched() -> None:
    assert errors.refusal("no such engine", "use another").code == errors.REFUSED == 2


def test_an_error_that_a_job_printed_becomes_our_own() -> None:
    output = "migrating\nerror: it is half-migrated\n  try: restore the copy\n"
    error = errors.from_output(2, output)

    assert (error.cause, error.remedy) == ("it is half-migrated", "restore the copy")
    assert error.code == 2


def test_the_last_of_several_errors_counts() -> None:
    output = "error: first\n  try: this\nnoise\nerror: second\n  try: that\n"

    assert (errors.from_output(1, output).cause) == "second"


@pytest.mark.parametrize("output", ["", "Killed\n", "error: without a way out\n"])
def test_a_job_that_died_without_a_word_is_reported_with_its_last_lines(output: str) -> None:
    error = errors.from_output(137, output)

    assert error.cause.splitlines()[0] == "a job ended with exit code 137"
    assert error.cause.splitlines()[1:] == [f"  {line}" for line in output.splitlines()]
    assert error.code == errors.FAILED


def test_only_the_last_ten_lines_that_say_something_are_kept() -> None:
    output = "\n\n".join(str(number) for number in range(30)) + "\n \n"

    assert errors.last_lines(output) == [str(number) for number in range(20, 30)]
