"""`python -m telemetry_client.cli`: the same as `telemetry`."""

from telemetry_client.cli import main

main()
