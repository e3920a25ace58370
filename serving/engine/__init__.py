"""The engine: image jobs from admission to answer, without gRPC, HTTP or a runtime.

Threads: requests are admitted and answered on gRPC's thread or the event loop, decoded on the
threads of a pool or of the devices, and run on one thread per device.

Locks: each object guards its own state with a lock of its own, for a few lines at a time, and takes
no other lock meanwhile, with one exception: gRPC's thread may hold grpcio's lock when it calls the
engine. So grpcio's lock comes first, and no order among the others is needed.
Nothing is posted to a caller, and no callback runs, while one of them is held.
"""
