"""The model `conformance` for Triton's Python backend.

It hands every input back, and answers the word's place.
"""

import numpy as np
import triton_python_backend_utils as pb_utils

WORDS = ["a", "b", "é"]
DTYPES = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
]


class TritonPythonModel:
    """What Triton calls."""

    def execute(self, requests):
        """One response for each request; a word outside the list fails its own request alone."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """The response of one request."""
        words = [
            word.decode()
            for word in pb_utils.get_input_tensor_by_name(request, "in_word").as_numpy().ravel()
        ]
        if not set(words) <= set(WORDS):
            return pb_utils.InferenceResponse(
                [], pb_utils.TritonError("an unknown word", pb_utils.TritonError.INVALID_ARG)
            )
        wanted = request.requested_output_names()
        outputs = []
        if "out_word" in wanted:
            outputs.append(
                pb_utils.Tensor(
                    "out_word", np.array([[WORDS.index(word)] for word in words], np.int64)
                )
            )
        given = {
            name: pb_utils.get_input_tensor_by_name(request, f"in_{name}").as_numpy()
            for name in DTYPES
            if f"out_{name}" in wanted
        }
        outputs += [pb_utils.Tensor(f"out_{name}", array) for name, array in given.items()]
        return pb_utils.InferenceResponse(outputs)
