"""What tests and benchmarks share: a hub, a hub that fails, a browser and what it shows."""
