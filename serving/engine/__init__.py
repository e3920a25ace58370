"""The engine: image jobs from admission to answer, without gRPC, HTTP or a runtime.

Threads: requests are admitted and answered on gRPC's thread or the event loop, decoded on the
threads of a pool or of the devices, and run on one thread per device. The event loop watches for
work that takes too long on any of them. A shadow has a thread of its own, for which nobody waits.

Locks: each object guards its own state with a lock of its own, for a few lines at a time, and takes
no other lock meanwhile; gRPC's thread holds none of grpcio's when it calls the engine. So no order
among locks is needed. Nothing is posted to a caller, and no callback runs, while one is held.
"""
