#!/usr/bin/env bash
# Removing a parametrization from a deep copy of a module takes the weight away from the module itself.
#
# Versions: torch 2.13.0 (CPU), numpy 2.4.6; Python 3.11.
# Given: a layer with torch.nn.utils.parametrizations.weight_norm, a deep copy of it, and remove_parametrizations on the copy,
#   with leave_parametrized=True, as one does to bake weights before an export and keep the module as it is.
# Want: the copy has a plain weight, and the layer answers as before.
# Seen: the copy answers. The layer's next call raises AttributeError: it has no attribute `weight`, though it is still listed as
#   parametrized. The property that computes the weight belongs to a class that torch makes for the layer; the deep copy has the
#   same class, from which the property is deleted. A second layer that was parametrized on its own is not touched.
# Way out: give the copy a class of its own first: type(name, bases, dict(vars(type(copy)))).
# Exit: 0 where that is seen, 1 where torch behaves otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import copy
import sys

import torch
from torch.nn.utils import parametrizations, parametrize

torch.manual_seed(0)
x = torch.randn(2, 4)
layer = parametrizations.weight_norm(torch.nn.Linear(4, 3))
other = parametrizations.weight_norm(torch.nn.Linear(4, 3))
before = layer(x)

baked = copy.deepcopy(layer)
shared = type(baked) is type(layer)
parametrize.remove_parametrizations(baked, "weight", leave_parametrized=True)
same = torch.equal(baked(x), before)
other(x)
try:
    layer(x)
    raised = ""
except AttributeError as error:
    raised = str(error)
listed = parametrize.is_parametrized(layer)
print(f"the copy has the layer's class: {shared}; the copy answers as before: {same}")
print(f"the layer is parametrized: {listed}; its next call: {raised or 'an answer'}")
sys.exit(not (shared and same and listed and "'weight'" in raised))
PYTHON
