"""Contract tests for any server of the API: `python -m mountsea_banana.harness`."""
