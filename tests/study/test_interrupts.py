from __future__ import annotations

import signal
import threading

import pytest
from sqlalchemy.engine.default import DefaultDialect

from flatcausal.study._interrupts import held_interrupts
from flatcausal.study._store import load_records, open_store

pytestmark = pytest.mark.usefixtures("interruptible")
RECORD = {"block": "dag-0", "optimizer": "sgd", "member": 0, "status": "ok"}


def press_ctrl_c(*_):
    signal.raise_signal(signal.SIGINT)


def run_held(*steps):
    with held_interrupts():
        for step in steps:
            step()


def test_the_block_ends_before_the_interrupt_arrives():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        run_held(press_ctrl_c, lambda: reached.append("end"))
    assert reached == ["end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_acts_at_once():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        run_held(press_ctrl_c, press_ctrl_c, lambda: reached.append("end"))
    assert reached == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_of_the_block_does_not_lose_the_interrupt():
    with pytest.raises(KeyboardInterrupt) as caught:
        run_held(press_ctrl_c, lambda: int("the block's own error"))
    assert isinstance(caught.value.__context__, ValueError)


def test_the_callers_own_handler_is_called_and_ignoring_stays_ignoring():
    calls = []
    signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    with held_interrupts():
        press_ctrl_c()
        assert calls == []
    assert calls == [signal.SIGINT]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_interrupts():
        press_ctrl_c()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_leave_the_handler_alone():
    seen = []

    def work():
        with held_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_ctrl_c_while_a_connection_closes_keeps_the_cell_and_stays_quiet(tmp_path, monkeypatch, caplog):
    # SQLAlchemy logs a traceback for an interrupt that reaches it while it closes a connection.
    path = tmp_path / "study.db"
    with open_store(path, {"seed": 0}, "d1") as store:
        close = DefaultDialect.do_close

        def close_slowly(dialect, connection):
            press_ctrl_c()
            close(dialect, connection)

        monkeypatch.setattr(DefaultDialect, "do_close", close_slowly)
        with pytest.raises(KeyboardInterrupt):
            store.add("c1", 1.0, [RECORD])
        monkeypatch.undo()
    assert len(load_records(path)) == 1
    assert caplog.records == []
