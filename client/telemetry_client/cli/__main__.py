"""`python -m telemetry_client.cli`, where the `telemetry` script is not on the path."""

from telemetry_client.cli import main

main()
