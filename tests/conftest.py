"""What holds for every test."""

import os
import sys

# Read once, when PyTorch is imported. Several test processes share the cores: threads of one that
# spin while they wait make a training of another take minutes instead of seconds.
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT="0")

# Tests start many processes, which would compile our modules anew each time, and so would pytest.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A worker makes way for its server by being nice, and would starve beside other tests: nobody can
# be nicer than this, so that all of them get the same share.
os.nice(19)
