"""The kit as a Helm chart: the same objects, with values in place of a placing's own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from seatrial_contracts.canonical import readable_json
from seatrial_serve.deploy.files import File
from seatrial_serve.deploy.placing import Placing

STAND_IN = Placing(
    "seatrial-chart-repository:seatrial-chart-tag", "seatrial-chart-namespace",
    1_000_001, 1_000_002, "seatrial-chart-monitoring",
)  # fmt: skip
"""A kit of this placing holds these values where a chart has its own."""
VALUES = {
    "seatrial-chart-repository": "{{ .Values.image.repository }}",
    "seatrial-chart-tag": "{{ .Values.image.tag }}",
    "seatrial-chart-namespace": "{{ .Release.Namespace }}",
    "seatrial-chart-monitoring": "{{ .Values.monitoringNamespace }}",
    "1000001": "{{ .Values.minReplicas }}",
    "1000002": "{{ .Values.maxReplicas }}",
}
MERGED_BY = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
"""Lists that a strategic merge patch merges, and by what; it replaces all others."""
PROMETHEUS, KEYS = ".Values.prometheus", ".Values.keys"
SCRAPED_WITH = {"authorization": {"credentials": {"name": "keys", "key": "scrape"}}}
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "additionalProperties": False,
    "required": [
        "image", "minReplicas", "maxReplicas", "monitoringNamespace", "imageVolume", "gpu",
        "scaler", "prometheus", "keys",
    ],
    "properties": {
        "global": {"type": "object"},
        "image": {
            "type": "object",
            "additionalProperties": False,
            "required": ["repository", "tag"],
            "properties": {
                "repository": {"type": "string", "minLength": 1},
                "tag": {"type": "string", "minLength": 1},
            },
        },
        "minReplicas": {"type": "integer", "minimum": 2},
        "maxReplicas": {"type": "integer", "minimum": 2},
        "monitoringNamespace": {"type": "string", "pattern": "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"},
        "imageVolume": {"type": "boolean"},
        "gpu": {"type": "boolean"},
        "scaler": {"enum": ["keda", "hpa", "none"]},
        "prometheus": {"type": "boolean"},
        "keys": {"type": "boolean"},
    },
}  # fmt: skip
"""What `helm` takes as values; it adds `global` itself."""
REPLICAS = "  replicas: {{ .Values.minReplicas }}\n"


def chart_files(
    name: str, version: str, kit: Mapping[str, File], placing: Placing
) -> dict[str, File]:
    """Name below the chart's folder -> what it holds; `kit` has the files by `STAND_IN`."""

    def the(path: str) -> Mapping[str, Any]:
        (found,) = kit[f"{path}.yaml"].objects
        return found

    volume = ".Values.imageVolume"
    changes = {
        volume: the("components/image-volume/deployment"),
        ".Values.gpu": the("components/gpu/deployment"),
        KEYS: the("components/keys/deployment"),
    }
    monitor = the("components/prometheus/servicemonitor")
    closed = changed(the("base/networkpolicy"), the("components/image-volume/networkpolicy"))
    scaler = '(eq .Values.scaler "{}")'
    templates = {
        "serviceaccount": text(the("base/serviceaccount")),
        "service": text(the("base/service")),
        "pdb": text(the("base/pdb")),
        "deployment": choice(all_changed(the("base/deployment"), changes)),
        "networkpolicy": choice({volume: closed, "": the("base/networkpolicy")}),
        "scaledobject": choice({scaler.format("keda"): the("components/keda/scaledobject")}),
        "hpa": choice({scaler.format("hpa"): the("components/hpa/hpa")}),
        "servicemonitor": choice(
            {f"and {PROMETHEUS} {KEYS}": scraped_with_key(monitor), PROMETHEUS: monitor}
        ),
        "prometheusrule": choice({PROMETHEUS: the("components/prometheus/prometheusrule")}),
    }
    said = {"deployment": kit["base/deployment.yaml"].said}
    chart = {"apiVersion": "v2", "name": name, "version": version, "appVersion": version,
             "type": "application", "description": f"Serves the model {name}."}  # fmt: skip
    files = {f"templates/{key}.yaml": File((), said.get(key, ()), template)
             for key, template in templates.items()}  # fmt: skip
    schema = readable_json(SCHEMA).decode()
    return {
        "Chart.yaml": File((chart,)),
        "values.yaml": File((values(placing),)),
        "values.schema.json": File((), (), schema, commented=False),
        **files,
    }


def values(placing: Placing) -> dict[str, Any]:
    """What a chart is told unless it is told otherwise: as the overlay `cpu` has it."""
    repository, tag = placing.image_parts
    return {
        "image": {"repository": repository, "tag": tag},
        "minReplicas": placing.min_replicas,
        "maxReplicas": placing.max_replicas,
        "monitoringNamespace": placing.monitoring_namespace,
        "imageVolume": True,
        "gpu": False,
        "scaler": "keda",
        "prometheus": True,
        "keys": False,
    }


def all_changed(
    whole: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """The object by each choice of conditions that hold: of the most first, of none last."""
    found: dict[str, Mapping[str, Any]] = {}
    for count in range(len(changes), -1, -1):
        for conditions in combinations(changes, count):
            made = whole
            for condition in conditions:
                made = changed(made, changes[condition])
            found[" ".join(["and", *conditions] if count > 1 else conditions)] = made
    return found


def scraped_with_key(monitor: Mapping[str, Any]) -> dict[str, Any]:
    """A ServiceMonitor as `components/keys` patches it."""
    (endpoint,) = monitor["spec"]["endpoints"]
    return {**monitor, "spec": {**monitor["spec"], "endpoints": [{**endpoint, **SCRAPED_WITH}]}}


def text(found: Mapping[str, Any]) -> str:
    """An object as a template: its own braces are kept, stand-ins become values."""
    made = File((found,)).body.replace("{{", '{{ "{{" }}')
    for stand_in, value in VALUES.items():
        made = made.replace(stand_in, value)
    return made.replace(
        REPLICAS, f'{{{{- if eq .Values.scaler "none" }}}}\n{REPLICAS}{{{{- end }}}}\n'
    )


def choice(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """The object of the first condition that holds; an empty condition always does."""
    parts = [
        f"{{{{- {f'else if {case}' if number else f'if {case}'} }}}}\n{text(found)}"
        if case
        else f"{{{{- else }}}}\n{text(found)}"
        for number, (case, found) in enumerate(cases.items())
    ]
    return "".join([*parts, "{{- end }}\n"])


def changed(whole: Any, change: Any, field: str = "") -> Any:
    """What a strategic merge patch makes of an object, as far as the kit's patches need it."""
    if isinstance(change, Mapping) and isinstance(whole, Mapping):
        return {**whole, **{name: changed(whole.get(name), value, name)
                            for name, value in change.items()}}  # fmt: skip
    if isinstance(whole, list) and (key := MERGED_BY.get(field)):
        changes = {each[key]: each for each in change}
        there = {each[key]: each for each in whole}
        together = {name: changed(there.get(name, {}), each) for name, each in changes.items()}
        return [each for each in (there | together).values() if "$patch" not in each]
    return change
