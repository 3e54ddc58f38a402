"""What is written for MLflow: a bundle as a logged model that MLflow itself can serve."""
