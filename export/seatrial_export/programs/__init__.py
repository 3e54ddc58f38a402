"""Models as torch saves them without their Python code: exported programs and TorchScript."""
