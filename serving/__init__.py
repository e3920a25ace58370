"""Bundle -> answers: the server, its engine and the runtimes behind it."""
