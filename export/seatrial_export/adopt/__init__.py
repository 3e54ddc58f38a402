"""Models that others made: a foreign ONNX graph, or a fitted scikit-learn estimator, given a contract and sealed."""
