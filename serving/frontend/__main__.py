"""`python -m serving.frontend DESCRIPTOR`: a front end; `serving.frontend.front_end` starts it."""

import os
import sys

if __name__ == "__main__":
    # gRPC reads these when it is imported; see `serving.__main__`.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from serving.frontend.process import main

    main(int(sys.argv[1]))
