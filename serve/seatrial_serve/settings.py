"""Every setting of the server, each with a sentence of advice.

Flags win over the environment, that over the file, that over defaults.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from seatrial_contracts.errors import DeclarationError
from seatrial_contracts.manifest import NAME
from seatrial_contracts.plain_file import NotPlainFile, read_plain_file
from seatrial_serve.containers import ARGUMENTS, CONTAINERS
from seatrial_serve.process.tls_files import TlsFiles

PREFIX = "SEATRIAL_"
ALLOWED_HOST = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
"""A host that requests may name: a name, `*.` before a name, or `*`."""
ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
"""An origin that a browser may send (RFC 6454, 6.2), without percent-encoding."""
BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}
"""Pydantic's name of a fault -> our words for it, and where the fault holds the bound."""
UNITS = {"_bytes": " bytes", "_s": " s", "_rows": " rows", "_bytes_per_s": " bytes per s"}
"""How the name of a setting ends -> its unit."""
MAX_FILE_BYTES = 2**20
PATH = r"(/[A-Za-z0-9._~:@%-]+)+"
"""A path of a URL that is no folder."""
CARDS = {"CUDAExecutionProvider", "TensorrtExecutionProvider"}
SERVICE = re.compile(
    rf"{PREFIX}(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
"""Names that Kubernetes makes of a Service's: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables."""
SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")


def split(value: Any) -> Any:
    """`a,b`, as flags and the environment have it, as a tuple; anything else as it is."""
    return (
        tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str)
        else value
    )


def as_addresses(value: Any) -> Any:
    """Addresses as text: a path alone, several, or `a,b`."""
    if isinstance(value, Path):
        return (str(value),)
    return tuple(map(str, value)) if isinstance(value, (list, tuple)) else split(value)


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(as_addresses), Field(min_length=1)]
Numbers = Annotated[tuple[int, ...], NoDecode, BeforeValidator(split)]


class Settings(BaseSettings):
    """Read from flags, from the environment and from a TOML file.

    In the environment: `SEATRIAL_HTTP_PORT=...`; in the file: `http_port = ...`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    bundles: Addresses = Field(
        ("bundles",),
        description=(
            "Folders of bundles, <name>/<version>, or bundles' own folders; or the like in stores: "
            "oci://HOST/NAME:TAG, mlflow:models:/NAME/VERSION, s3://, gs://, az://, https://."
        ),
    )
    versions: Literal["latest", "all"] = Field(
        "latest",
        description=(
            "Which versions to serve: the highest of each model, "
            "or all that are there (each takes its own memory)."
        ),
    )
    load: Literal["all", "on-demand", "pinned"] = Field(
        "all",
        description=(
            "Which models are in memory: all, from the start; each from its first request on, "
            "until others want its memory; or the latter, but for those of --pins, "
            "which are loaded at start and stay."
        ),
    )
    pins: Words = Field(
        (), description="With --load pinned: names of models that are always in memory: churn,eta."
    )
    model_memory_bytes: int | None = Field(
        None,
        ge=2**20,
        description=(
            "With --load on-demand or pinned: what models may take together, as their loads "
            "measure it; several workers share it. By default half of what the process is granted."
        ),
    )
    watch: bool = Field(
        False,
        description=(
            "Reload when a folder changes or a tag moves. SIGHUP and the admin's load do so "
            "without it."
        ),
    )
    poll_s: float = Field(
        30.0,
        ge=1,
        le=86400,
        description="With --watch: seconds between two looks at each store's tags and folders.",
    )
    bundle_cache_bytes: int = Field(
        20 * 2**30,
        ge=0,
        description=(
            "How much the user's cache may hold of what was fetched from stores. "
            "What was used longest ago goes first; what is served stays."
        ),
    )
    multi_model: bool = Field(
        False,
        description=(
            "Serve nothing of the folder of bundles until POST /models names a folder below it, as "
            "SageMaker's multi-model endpoints do. Whoever reaches the port may load and unload."
        ),
    )
    allow_breaking: bool = Field(
        False,
        description=(
            "Let a version take over whose contract breaks clients of the one before, "
            "under the same major version. Off: the one before goes on."
        ),
    )
    admin: bool = Field(
        False,
        description=(
            "Let clients load and unload models. Off, since whoever reaches the port could; "
            "keep it to a trusted network."
        ),
    )
    host: str = Field(
        "127.0.0.1",
        description=(
            "Address to listen on; the loopback keeps strangers out. "
            "Any other needs --api-keys and --tls-cert, or --insecure."
        ),
    )
    insecure: bool = Field(
        False,
        description=(
            "Listen on another address than the loopback without keys or without TLS. "
            "Only behind something that encrypts, and that checks who asks."
        ),
    )
    api_keys: Path | None = Field(
        None,
        description=(
            "File of keys, certificates' names and an issuer's tokens, and what each may ask, as "
            "`seatrial keys new` writes it. Read again when it changes. By default everybody who "
            "reaches a port may ask."
        ),
    )
    allowed_hosts: Words = Field(
        (),
        description=(
            "Names by which clients reach this server beside localhost, --host and IP addresses: "
            "models, *.svc.cluster.local. Others, which a browser may have been rebound to, "
            "are refused with 421; * allows every name."
        ),
    )
    tls_cert: Path | None = Field(
        None,
        description=(
            "File of the server's certificate in PEM, those of who issued it behind it: HTTP, gRPC "
            "and metrics are served over TLS 1.2 and 1.3 alone. Read again when it changes, "
            "and at SIGHUP. By default nothing is encrypted."
        ),
    )
    tls_key: Path | None = Field(
        None,
        description="File of the certificate's key in PEM, without a password, with --tls-cert.",
    )
    tls_client_ca: Path | None = Field(
        None,
        description=(
            "File of authorities in PEM: clients show a certificate of one of them, on every port. "
            "By default clients need none."
        ),
    )
    tls_clients: Literal["required", "optional"] = Field(
        "required",
        description=(
            "With --tls-client-ca: turn clients without a certificate away, or let them in over "
            "HTTP, as probes need it. gRPC requires one either way."
        ),
    )
    trusted_proxies: Words = Field(
        (),
        description=(
            "Addresses and networks of proxies whose Forwarded and X-Forwarded-For are believed: "
            "10.0.0.0/8,::1. Limits and logs then go by their clients. By default nobody's are."
        ),
    )
    cors_origins: Words = Field(
        (),
        description=(
            "Origins of other sites whose pages may ask models and read the answers: "
            "https://app.example.org. Never administration and feedback. By default none may."
        ),
    )
    http_port: int = Field(8000, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    grpc: bool = Field(
        True,
        description="Serve V2 over gRPC as well. Turn off where nobody asks, to save some 20 MB.",
    )
    grpc_port: int = Field(
        8001, ge=0, le=65535, description="Port of the gRPC service; 0 takes a free one."
    )
    grpc_calls: int = Field(
        256,
        ge=1,
        le=65536,
        description=(
            "Calls over gRPC at once. gRPC holds each one's message, "
            "of at most grpc_message_bytes, before the budget knows of it."
        ),
    )
    grpc_message_bytes: int | None = Field(
        None,
        ge=2**16,
        le=2**31 - 1,
        description=(
            "Longest message over gRPC, decompressed; each contract's own limit holds below it. "
            "By default the longest body that a model takes at start, as far as its contract was "
            "verified, and at least 4 MiB."
        ),
    )
    metrics_port: int = Field(
        8002,
        ge=0,
        le=65535,
        description=(
            "Port of the Prometheus metrics, a listener of its own, "
            "so that a scrape never waits behind traffic."
        ),
    )
    metrics: bool = Field(True, description="Serve metrics. Turn off only where nobody scrapes.")
    sampled_per_s: float = Field(
        200.0,
        ge=0,
        description=(
            "Answered requests a second, in each process, that drift and live parity look at; "
            "above it they see a sample. 0: none."
        ),
    )
    docs: bool = Field(
        True, description="Serve the API's pages at /docs, from this package, without network."
    )
    console: bool = Field(
        True,
        description=(
            "Serve the console at /: try models, watch them, read their trials. "
            "Turn off where whoever reaches the port should see less."
        ),
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description=(
            "Threads that run models. By default as many as cores are granted (affinity and "
            "cgroup)."
        ),
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description=(
            "Server processes behind one port, for machines with more cores than one process can "
            "feed. They share the weights."
        ),
    )
    engine: Literal["auto", "shared", "own"] = Field(
        "auto",
        description=(
            "Who holds the models' graphs: one engine process for all workers, which makes batches "
            "of the rows of all; or each worker its own. By default shared by several workers on "
            "cards."
        ),
    )
    graph_cache: bool = Field(
        True,
        description=(
            "Keep optimised graphs in the user's cache folder (XDG_CACHE_HOME): "
            "loading takes a tenth of the time, and workers share the weights' memory."
        ),
    )
    prove: Literal["kept", "always"] = Field(
        "kept",
        description=(
            "Prove a version by one golden row if the user's cache keeps a receipt of its load "
            "gate on this machine, else by all; or always by all."
        ),
    )
    default_model: str | None = Field(
        None,
        max_length=256,
        description=(
            "The model of requests that name none, as routes of other projects' clients may do. "
            "By default the only one there is."
        ),
    )
    model_name: str | None = Field(
        None,
        pattern=NAME.pattern,
        description=(
            "What clients call the only model that is served, whatever name it was sealed with: "
            "KServe calls a model by its InferenceService."
        ),
    )
    container: Literal["azureml", "cloudrun", "image", "sagemaker", "vertex"] | None = Field(
        None,
        description=(
            "The cloud that starts this container: its address, ports, paths and folder are the "
            "defaults, read from the variables that it sets. Other settings win over them. "
            "Our image sets `image`: all addresses, and /bundles."
        ),
    )
    predict_path: str | None = Field(
        None,
        pattern=PATH,
        description=(
            "A path more that answers V1's requests, to the model of requests that name none."
        ),
    )
    health_path: str | None = Field(
        None, pattern=PATH, description="A path more that answers as /v2/health/ready does."
    )
    ready: Literal["all", "any"] = Field(
        "all",
        description=(
            "When the server says that it is ready: when all models take traffic, or any. "
            "Each model's own readiness is its own."
        ),
    )
    max_batch_rows: int | None = Field(
        None,
        ge=1,
        le=65536,
        description=(
            "Most rows in a batch. By default what pays on this machine, as measured while loading."
        ),
    )
    max_wait_s: float = Field(
        0.0,
        ge=0,
        le=10,
        description=(
            "How long a request may wait for company. 0 batches what queued while the runtime was "
            "busy; more helps only accelerators."
        ),
    )
    max_waiting_rows: int = Field(
        4096,
        ge=1,
        description="Rows that may wait for a model before new ones are refused with 503 at once.",
    )
    budget_bytes: int | None = Field(
        None,
        ge=2**20,
        description=(
            "Memory that requests may hold together, in bytes. "
            "By default a quarter of what the process is granted, at most 2 GiB."
        ),
    )
    client_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description=(
            "Which part of that memory, and of the gRPC calls at once, one address may take. "
            "Set it to 1 behind a proxy that everybody comes through."
        ),
    )
    client_connections: int = Field(
        4096,
        ge=1,
        description=(
            "Connections over HTTP that one address may have open. "
            "A proxy that everybody comes through may need more."
        ),
    )
    body_bytes_per_s: int = Field(
        16384,
        ge=0,
        description=(
            "How fast a request's body must come on average, after 5 s of grace; "
            "a slower one is refused with 408. 0: at any rate, within the request's timeout."
        ),
    )
    request_timeout_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="A request whose turn comes later than this is answered 504 and never runs.",
    )
    drain_window_s: float = Field(
        1.0,
        ge=0,
        le=600,
        description=(
            "After SIGTERM: how long to go on answering, not ready and closing connections, "
            "so that balancers notice. Set it above their probe interval."
        ),
    )
    grace_s: float = Field(
        30.0,
        ge=0,
        le=600,
        description=(
            "How long requests in flight may take to end after the drain window. "
            "Keep both together below the orchestrator's kill."
        ),
    )
    providers: Words = Field(
        ("CPUExecutionProvider",),
        description=(
            "onnxruntime providers in order; the first must really run, or the model is not ready."
        ),
    )
    devices: Numbers = Field(
        (),
        description=(
            "Numbers of the cards that run models, for CUDA and TensorRT: "
            "one session each behind one batcher. By default the first card."
        ),
    )
    device_memory_bytes: int | None = Field(
        None,
        ge=2**20,
        description=(
            "Most memory on each card that one model's session takes. By default what is free; "
            "set it where models share a card."
        ),
    )
    provider_options: Words = Field(
        (),
        description=(
            "Options of the first provider in onnxruntime's own words, name=value: "
            "trt_fp16_enable=1."
        ),
    )
    cuda_graphs: bool = Field(
        False,
        description=(
            "Record CUDA graphs for models whose inputs have fixed sizes; "
            "batches are filled up to powers of two. Measure before use: make test-gpu."
        ),
    )
    allow_cpu_fallback: bool = Field(
        False,
        description=(
            "Serve on the CPU where the first provider does not come up. Off, "
            "since a silent fallback is an outage nobody sees."
        ),
    )
    variant: str | None = Field(
        None,
        description=(
            "Which variant of every bundle to serve. By default what variants.json beside a "
            "model's versions says, else its first."
        ),
    )
    require_signature: Path | None = Field(
        None,
        description=(
            "Serve bundles alone that one of these signed: a file of one public key or of "
            "certificates, a folder of such files, or a trust policy (.toml). By default nobody's "
            "signature is asked for."
        ),
    )
    allow_rollback: bool = Field(
        False,
        description=(
            "With --require-signature: serve a version below the highest that was served here, or "
            "other bytes of the same one. Off, since an old signature stays valid."
        ),
    )
    identity: Path | None = Field(
        None,
        description=(
            "A file of secret keys that open encrypted bundles: age identities, or an SSH private "
            "key. It is read at start, and again where none of its keys opens a bundle."
        ),
    )
    identity_command: str | None = Field(
        None,
        description=(
            "A command, in words as a shell has them, whose standard output is such a file: in the "
            "place of --identity. It runs at start, and again where none of its keys opens a "
            "bundle."
        ),
    )
    trust_torchscript: bool = Field(
        False,
        description=(
            "Load TorchScript graphs. Off, since such a file is a program: "
            "turn it on only where you trust whoever sealed the bundles."
        ),
    )
    runtime: Literal["triton"] | None = Field(
        None,
        description=(
            "Where graphs run: in this process by default, or in NVIDIA's Triton, "
            "which then holds what `seatrial triton` wrote."
        ),
    )
    triton_url: str = Field(
        "127.0.0.1:8001", description="Triton's gRPC address, host:port, for --runtime triton."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description=(
            "How much to log. At debug, errors also say what the libraries say, "
            "which may hold a client's values."
        ),
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description=(
            "Text is for a person at a terminal; JSON, one object a line, "
            "for whatever collects logs."
        ),
    )
    logged_per_s: float = Field(
        10.0,
        ge=0,
        description=(
            "Requests a second that get a line in the log, of those that failed or came later "
            "than the contract's objective; the rest are counted in the next line. 0: none."
        ),
    )
    live_parity_per_s: float = Field(
        1.0,
        ge=0,
        description=(
            "Answers a second, in each process, that are worked out again alone on the fp32 "
            "graph, in moments without a request on its way, and compared. 0: none."
        ),
    )
    live_parity_bytes: int = Field(
        64 * 2**20,
        ge=0,
        description=(
            "Largest fp32 graph that live parity loads beside another variant; "
            "it takes about that much memory. Where fp32 itself is served, nothing is loaded."
        ),
    )
    live_parity_window: int = Field(
        50,
        ge=1,
        description="Over how many of the last compared answers the wrong ones are counted.",
    )
    live_parity_violations: int = Field(
        5, ge=1, description="Wrong ones among them after which the version is no longer trusted."
    )
    live_parity_action: Literal["report", "not_ready", "fall_back"] = Field(
        "not_ready",
        description=(
            "What then: count alone; take the version out of service; "
            "or also load the highest version below it that passes its load gate."
        ),
    )
    feedback_answers: int = Field(
        0,
        ge=0,
        description=(
            "Answers of models with labels whose scores are remembered by request id, "
            "so that :feedback can be told the truth of them by it: 10000, say, "
            "at some microseconds a request. 0: feedback brings the rows."
        ),
    )
    feedback_window: int = Field(
        1000,
        ge=1,
        description="Over how many of the last truths accuracy and calibration error are taken.",
    )
    audit_log: str | None = Field(
        None,
        description=(
            "File for a record of loads, refused bundles, uses of keys and calls of "
            "administration, one JSON object a line, that `seatrial audit verify` checks; or the "
            "local syslog (syslog:), or one that is reached over TCP (syslog://HOST:PORT). "
            "By default none is kept."
        ),
    )
    keep_failures: Path | None = Field(
        None,
        description=(
            "Folder for requests that failed on our side or came later than their objective, "
            "at most one a second and 200 in all, for `seatrial replay`. By default none are kept."
        ),
    )
    keep_failures_key: str | None = Field(
        None,
        description=(
            "Age public key (age1..., from age-keygen) that the kept rows are encrypted for. "
            "Without one, only the kind and size of each value is kept. Needs the extra age."
        ),
    )
    keep_failures_plain: bool = Field(
        False,
        description="Keep the rows as they came. Only where the folder may hold what clients send.",
    )
    otlp_endpoint: str | None = Field(
        None,
        description=(
            "Where OpenTelemetry traces go, over HTTP: http://127.0.0.1:4318. "
            "By default OTEL_EXPORTER_OTLP_ENDPOINT, or nowhere. Needs the extra otel."
        ),
    )

    @field_validator("devices")
    @classmethod
    def _each_once(cls, devices: tuple[int, ...]) -> tuple[int, ...]:
        if min(devices, default=0) < 0 or len(set(devices)) != len(devices):
            raise ValueError("numbers from 0 on, each once: 0,1")
        return devices

    @field_validator("allowed_hosts")
    @classmethod
    def _without_port(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        hosts = tuple(host.lower() for host in hosts)
        if not all(ALLOWED_HOST.fullmatch(host) for host in hosts):
            raise ValueError("names without scheme and port: models,*.svc.cluster.local, or *")
        return hosts

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(str(ip_network(each, strict=False)) for each in networks)
        except ValueError:
            raise ValueError("addresses or networks: 10.0.0.0/8,192.168.1.7,::1") from None

    @field_validator("cors_origins")
    @classmethod
    def _whole_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        origins = tuple(each.lower() for each in origins)
        if not all(ORIGIN.fullmatch(each) for each in origins):
            want = "origins as browsers send them, each by name: https://app.example.org:8443"
            raise ValueError(want)
        return origins

    @field_validator("provider_options")
    @classmethod
    def _named(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        named: list[str] = []
        for part in options:  # a value may hold commas: a=x:1x3,y:1x4
            if "=" in part or not named:
                named.append(part)
            else:
                named[-1] += f",{part}"
        if not all(0 < option.find("=") < len(option) - 1 for option in named):
            raise ValueError("name=value, such as trt_fp16_enable=1")
        return tuple(named)

    @model_validator(mode="after")
    def _together(self) -> Settings:
        for names, got, want in contradictions(self):
            raise DeclarationError(f"settings {' and '.join(map(repr, names))}", got, want)
        return self

    def check_exposure(self) -> None:
        """Raise `DeclarationError` where strangers could reach the ports, and ask or listen in."""
        if self.insecure or is_loopback(self.host):
            return
        certified = self.tls_client_ca is not None and self.tls_clients == "required"
        lacks = {
            "keys (--api-keys FILE)": self.api_keys is None and not certified,
            "TLS (--tls-cert FILE --tls-key FILE)": self.tls is None,
        }
        missing = [name for name, is_missing in lacks.items() if is_missing]
        if missing:
            raise DeclarationError(
                "setting 'host'", f"'{self.host}', which strangers may reach",
                f"{' and '.join(missing)}", "or --insecure, behind what does both, or 127.0.0.1",
            )  # fmt: skip

    @property
    def shares_engine(self) -> bool:
        """Does an engine process hold the graphs for all workers?"""
        if self.engine != "auto":
            return self.engine == "shared"
        on_cards = self.workers > 1 and self.providers[0] in CARDS
        return on_cards and self.load == "all" and self.runtime is None

    @property
    def tls(self) -> TlsFiles | None:
        """The files of TLS; None where nothing is encrypted."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return TlsFiles(
            self.tls_cert, self.tls_key, self.tls_client_ca, self.tls_clients == "required"
        )

    @property
    def pages_told(self) -> str:
        """Where the pages are, for the server's first line; empty where it serves none."""
        pages = {"console at /": self.console, "API's pages at /docs": self.docs}
        said = ", ".join(page for page, served in pages.items() if served)
        return f" ({said})" if said else ""

    @property
    def scheme(self) -> str:
        """How URLs of this server begin."""
        return "http" if self.tls is None else "https"

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """The names that a request's Host may have, beside `localhost`."""
        return (*self.allowed_hosts, self.host.lower())

    @property
    def provider_option_pairs(self) -> tuple[tuple[str, str], ...]:
        """The provider's options, each apart from its value."""
        pairs = (option.partition("=") for option in self.provider_options)
        return tuple((name, value) for name, _, value in pairs)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (the framework's signature)
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the framework's signature)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the framework's signature)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let keyword arguments win over the environment.

        Nothing else is read behind the caller's back.
        """
        assert isinstance(env_settings, EnvSettingsSource)
        ignored = {name.lower() for name in ignored_variables(os.environ)}
        env_settings.env_vars = {
            name: value for name, value in env_settings.env_vars.items() if name not in ignored
        }
        return init_settings, env_settings


def is_loopback(host: str) -> bool:
    """Does an address to listen on reach this machine alone?"""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def contradictions(settings: Settings) -> Iterator[tuple[tuple[str, str], str, str]]:
    """Names of two settings that do not go together, what was got and what is wanted."""
    workers, failures = settings.workers > 1, settings.keep_failures
    if workers and settings.admin:
        yield (
            ("workers", "admin"),
            "both",
            "one worker, or no admin routes; reload all workers by SIGHUP, or with --watch",
        )
    if workers and settings.multi_model:
        yield ("workers", "multi_model"), "both", "one worker: a load reaches one process"
    if workers and settings.feedback_answers:
        yield (
            ("workers", "feedback_answers"),
            "both",
            "one worker, or feedback that brings the rows",
        )
    if settings.allow_rollback and settings.require_signature is None:
        want = "--require-signature FILE as well: without it no version is a rollback"
        yield ("allow_rollback", "require_signature"), "the first alone", want
    if settings.load == "pinned" and not settings.pins:
        yield ("load", "pins"), "no pins", "names of models: --pins NAME,NAME; or --load on-demand"
    if settings.pins and settings.load != "pinned":
        yield ("pins", "load"), "the first alone", "--load pinned as well"
    if settings.model_memory_bytes and settings.load == "all":
        yield ("model_memory_bytes", "load"), "load all", "--load on-demand, or --load pinned"
    if settings.engine == "shared":
        if not workers:
            yield ("engine", "workers"), "a shared engine and one worker", "--workers 2, or more"
        if settings.runtime:
            want = "one of them: the other runtime holds the models already"
            yield ("engine", "runtime"), f"a shared engine and {settings.runtime}", want
        if settings.load != "all":
            want = "--load all, or --engine own: each worker unloads for itself"
            yield ("engine", "load"), f"a shared engine and load {settings.load}", want
    for name, mend in (
        ("runtime", "--load all: the other process holds the models"),
        ("multi_model", "--load all: POST /models and DELETE say what is loaded"),
    ):
        if settings.load != "all" and getattr(settings, name):
            yield ("load", name), f"{settings.load} and {name}", mend
    if settings.live_parity_per_s and settings.live_parity_violations > settings.live_parity_window:
        got = (
            f"{settings.live_parity_violations} wrong answers of the last "
            f"{settings.live_parity_window}"
        )
        yield (
            ("live_parity_violations", "live_parity_window"),
            got,
            "at most as many as the window holds",
        )
    if settings.max_wait_s >= settings.request_timeout_s:
        got = f"{settings.max_wait_s:g} s of {settings.request_timeout_s:g} s"
        yield ("max_wait_s", "request_timeout_s"), got, "a wait that is shorter than the timeout"
    for name, other, mend in (
        ("tls_cert", "tls_key", "its key as well: --tls-key FILE"),
        ("tls_key", "tls_cert", "its certificate as well: --tls-cert FILE"),
        ("tls_client_ca", "tls_cert", "the server's own certificate as well: --tls-cert FILE"),
    ):
        if getattr(settings, name) and not getattr(settings, other):
            yield (name, other), "the first alone", mend
    if settings.tls_clients == "optional" and not settings.tls_client_ca:
        want = "authorities as well: --tls-client-ca FILE"
        yield ("tls_clients", "tls_client_ca"), "the first alone", want
    if settings.keep_failures_key and settings.keep_failures_plain:
        yield ("keep_failures_key", "keep_failures_plain"), "both", "one of them"
    for name in ("keep_failures_key", "keep_failures_plain"):
        if failures is None and getattr(settings, name):
            yield (
                (name, "keep_failures"),
                "the first alone",
                "a folder as well: --keep-failures FOLDER",
            )
    for name in ("devices", "device_memory_bytes", "cuda_graphs"):
        if getattr(settings, name) and not CARDS & set(settings.providers):
            yield (
                (name, "providers"),
                f"no card among {', '.join(settings.providers)}",
                " or ".join(sorted(CARDS)),
            )
    on = {"http_port": True, "grpc_port": settings.grpc, "metrics_port": settings.metrics}
    for one, other in combinations([name for name, used in on.items() if used], 2):
        if getattr(settings, one) == getattr(settings, other) != 0:
            yield (one, other), f"{getattr(settings, one)} for both", "a port for each"


def load_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Return settings from flags, environment and file.

    Raises `DeclarationError` that names the setting, what it got and what it wants.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    from_file = read_file(config) if config is not None else {}
    environment = variables_of(os.environ)
    for name in environment:
        if name not in Settings.model_fields:
            raise unknown_name(
                f"environment variable '{PREFIX}{name.upper()}'",
                name,
                lambda each: PREFIX + each.upper(),
            )
    for name in os.environ:
        prefix, _, rest = name.upper().partition("_")
        if rest.lower() in Settings.model_fields and is_nearly(prefix, PREFIX.rstrip("_")):
            where, mend = f"environment variable '{name}'", f"did you mean {PREFIX}{rest}?"
            raise DeclarationError(where, f"the prefix {prefix}_", PREFIX, mend)
    container = (
        given.get("container") or os.environ.get(f"{PREFIX}CONTAINER") or from_file.get("container")
    )
    if isinstance(container, str) and container in CONTAINERS:
        from_file = CONTAINERS[container](os.environ) | from_file
        if given.get("bundles") == ARGUMENTS.get(container):
            given.pop("bundles", None)
    try:
        return Settings(
            **{name: value for name, value in from_file.items() if name not in environment} | given
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise unknown_name(f"setting '{name}'", name) from None
        where, got = f"setting '{name}'", repr(first["input"])[:60]
        raise DeclarationError(where, got, wanted(name, first)) from None


def wanted(name: str, fault: ErrorDetails) -> str:
    """What a setting takes, in the words of Pydantic's fault; a bound with the setting's unit."""
    if fault["type"] in BOUNDS:
        word, bound = BOUNDS[fault["type"]]
        ends = [end for end in UNITS if name.endswith(end)]
        unit = UNITS[max(ends, key=len)] if ends else ""
        return f"{word} {fault['ctx'][bound]:.15g}{unit}"
    want = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return want[0].lower() + want[1:]


def is_nearly(word: str, wanted: str) -> bool:
    """Is a word a misspelling of another?"""
    return word != wanted and bool(get_close_matches(word, [wanted], cutoff=0.85))


def unknown_name(where: str, name: str, written: Callable[[str], str] = str) -> DeclarationError:
    """The error about a name that no setting has, with the one that is nearest to it."""
    near = get_close_matches(name.lower(), Settings.model_fields, n=1)
    want = (
        "a setting of seatrial serve"
        if near
        else f"one of {', '.join(map(written, Settings.model_fields))}"
    )
    return DeclarationError(
        where, "an unknown name", want, f"did you mean {written(near[0])}?" if near else None
    )


def variables_of(environ: Mapping[str, str]) -> set[str]:
    """Return the names of the settings that the environment holds, known or not.

    Upper and lower case are one.
    """
    ignored = set(ignored_variables(environ))
    return {
        name.upper().removeprefix(PREFIX).lower()
        for name in environ
        if name.upper().startswith(PREFIX) and name not in ignored
    }


def ignored_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that Kubernetes sets for a Service named "seatrial...".

    Kubernetes sets them in every container.

    For a Service `seatrial-metrics`: SEATRIAL_METRICS_PORT=tcp://10.0.0.1:8002, which is also the
    name of a setting, and others.
    """
    return sorted(
        name
        for name, value in environ.items()
        if name.startswith(PREFIX)
        and (SERVICE.fullmatch(name) or (name.endswith("_PORT") and SERVICE_ADDRESS.match(value)))
    )


def read_file(config: Path) -> dict[str, Any]:
    """Return the TOML file as a mapping.

    Raises `DeclarationError`, also if the file is no plain file or larger than 1 MiB.
    """
    where = f"settings file '{config}'"
    try:
        return tomllib.loads(read_plain_file(config, MAX_FILE_BYTES, follow_links=True).decode())
    except NotPlainFile as error:
        raise DeclarationError(where, str(error), "a readable TOML file") from None
    except OSError as error:
        raise DeclarationError(where, error.strerror or "no file", "a readable TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeclarationError(where, str(error), "TOML") from None
