"""V2, the Open Inference Protocol: one request and one response, as HTTP and gRPC both carry them, and what each makes of its bytes."""
