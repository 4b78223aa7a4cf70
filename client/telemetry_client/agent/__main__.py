"""`python -m telemetry_client.agent`: the same as `telemetry-agent`."""

from telemetry_client.agent import main

if __name__ == "__main__":
    raise SystemExit(main())
