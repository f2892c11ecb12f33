import os
import time

import pytest

from server.bench.processor_time import processor_seconds


def test_computing_costs_processor_time_and_other_sessions_are_left_out() -> None:
    before = processor_seconds(os.getsid(0))
    if before is None:
        pytest.skip("only Linux tells")
    spent = time.process_time()
    while time.process_time() - spent < 0.1:
        pass
    after = processor_seconds(os.getsid(0))
    assert after is not None
    # A tenth of a second, told in hundredths.
    assert after - before >= 0.08
    # No process leads a session of this number: it is beyond Linux's largest.
    assert processor_seconds(2**22 + 1) == 0.0
