"""One thread for each process of the tests: there is one for each core already, and threads that wait only spin."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in what tests start
