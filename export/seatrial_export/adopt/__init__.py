"""Models that others made, given a contract and sealed.

Such a model is a foreign ONNX graph, or a fitted scikit-learn estimator.
"""
