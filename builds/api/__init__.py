"""The HTTP API: reads a request, calls one function of the floors below, and answers in JSON."""
