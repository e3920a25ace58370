"""The load tester: closed and open loops, latencies, goodput, and its own cost."""
