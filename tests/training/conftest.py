"""What all tests of training share."""

import signal

import pytest


@pytest.fixture(autouse=True)
def at_a_terminal():
    """Ctrl-C interrupts, also where a shell runs the tests in the background and has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
