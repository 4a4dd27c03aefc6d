"""How long the machines search: the same bounded search every time, or, asked for, a new and longer one.

``MACHINE_EXAMPLES`` (and ``MACHINE_STEPS``) in the environment make it long and random:
``MACHINE_EXAMPLES=20000 python -m pytest tests/promise --timeout 0``.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

LONG = "MACHINE_EXAMPLES" in os.environ


def machine_settings(examples: int, steps: int) -> settings:
    """Return a machine's settings; ``examples`` and ``steps`` are those of every day."""
    return settings(
        max_examples=int(os.environ.get("MACHINE_EXAMPLES", examples)),
        stateful_step_count=int(os.environ.get("MACHINE_STEPS", steps)),
        derandomize=not LONG,
        database=None,
        deadline=None,
        print_blob=LONG,
        suppress_health_check=list(HealthCheck),
    )
