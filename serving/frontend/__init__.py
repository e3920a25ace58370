"""Front ends: processes that take calls of gRPC, decode images, and ask one engine process.

    clients -> N front ends: gRPC, TLS, tokens, parsing, decoding, building of answers
                   |  small messages over a Unix socket each; pixels through shared memory
               the engine process: admission, batches, devices, answers; HTTP and the metrics

Why so, and not otherwise:

- Python runs one thread at a time, and a call costs 0.3 ms of that besides its decoding. So
  whatever can be done elsewhere is, and the engine is left with what must be one: limits,
  deadlines, the order in which images run, batches.
- The engine admits before a front end decodes: a request asks with what the headers of its images
  claim, is granted, and its images follow one by one as they are decoded. Pixels that need no
  decoding are there when it asks. So limits and deadlines are those of all front ends together.
- Each front end has slots of its own for each model (`slots`), as many as images may be in flight.
  So none asks another process for a slot, a front end that dies takes its slots with it, and what
  it writes wrongly harms no caller of another. A slot takes memory only once it is used.
- Nothing stays in /dev/shm: slots are files without a name, passed as descriptors.
- HTTP stays in the engine process, which alone knows what most of its routes tell, and answers them
  while no front end lives. Images that come so are admitted there, then sent to a front end to be
  decoded (`lending`): it treats them as its own, but nobody is answered there. To forward all of
  HTTP as gRPC's other methods are would take more code than to send files.
- A front end knows the models' names, labels and transforms, which the engine tells it. It says of
  which it has no more use; the engine, which may have images of them to be decoded, says when they
  go. Methods that classify nothing are forwarded, and answered where everything is known.
- Every image that was granted ends in the engine: with its answer, or because the front end says
  that it cannot be decoded or that its caller has left, or because the front end is gone.
"""
