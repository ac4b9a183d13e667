"""The garbage collector is kept quiet, by any number of threads, and is afterwards as it was."""

import gc
import threading

import pytest

from kinto_signer.plugin.collector import paused


@pytest.fixture(autouse=True)
def collector():
    enabled = gc.isenabled()
    gc.enable()
    yield
    if not enabled:
        gc.disable()


def test_it_is_quiet_meanwhile_and_awake_afterwards():
    with paused():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_error_wakes_it_up():
    with pytest.raises(ValueError, match="oops"), paused():
        raise ValueError("oops")
    assert gc.isenabled()


def test_the_last_one_wakes_it_up():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with paused():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with paused():
        thread.start()
        inside.wait(10)
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


def test_where_somebody_switched_it_off_it_stays_off():
    gc.disable()
    with paused(), paused():
        assert not gc.isenabled()
    assert not gc.isenabled()
