"""Prometheus rules, their tests and a Grafana dashboard, written from a sealed bundle."""
