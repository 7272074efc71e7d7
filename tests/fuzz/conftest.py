"""Hypothesis settings: the same examples in every run, more and other ones with UCOMQTT_FULL=1."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("ci", derandomize=True, database=None, deadline=None, max_examples=200,
                          suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("full", settings.get_profile("ci"), derandomize=False, max_examples=5000,
                          print_blob=True)
settings.load_profile("full" if os.environ.get("UCOMQTT_FULL") == "1" else "ci")
