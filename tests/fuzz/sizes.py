"""How long the fuzzing goes on: a moment in `make test`, as `make fuzz` says otherwise."""

from __future__ import annotations

import os

CASES = int(os.environ.get("FUZZ_CASES", "0"))  # requests of schemathesis, at least; 0: one round
RUNS = int(os.environ.get("FUZZ_RUNS", "0"))  # of each state machine; 0: a few
