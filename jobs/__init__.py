"""The scheduled tasks: `python -m jobs`, a process beside the web workers, without Flask."""
