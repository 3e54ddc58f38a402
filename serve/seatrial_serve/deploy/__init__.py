"""Manifests for orchestrators, written from a bundle's contract and from what was measured."""
