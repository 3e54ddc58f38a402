"""Load on a server: closed and open loop, latencies, the knee, and the runtime's own limit."""
