"""What measures speed, and its recorded results."""

import os

# What `python -m serving` and `python -m clients` say to gRPC, here for both: children inherit it.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener,-event_engine_client")
