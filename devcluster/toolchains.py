"""What npm, pip, go and Maven print in a build, and how they fail; text only, in no order of a build."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    base: str
    runtime: str
    files: str
    install: str
    build: str
    artefact: str
    install_output: Callable[[random.Random], list[str]]
    build_output: Callable[[random.Random], list[str]]


NODE_PACKAGES = (
    "@aws-sdk/client-s3 3.621.0", "ajv 8.17.1", "axios 1.7.4", "csv-parse 5.5.6", "date-fns 3.6.0",
    "fast-xml-parser 4.4.1", "fastify 4.28.1", "iconv-lite 0.6.3", "ioredis 5.4.1", "jsonpath-plus 9.0.0",
    "kafkajs 2.2.4", "lodash 4.17.21", "node-edifact 1.2.8", "papaparse 5.4.1", "pino 9.3.2", "undici 6.19.7",
    "uuid 10.0.0", "xlsx-stream-reader 1.1.1", "yaml 2.5.0", "zod 3.23.8",
)  # fmt: skip
PYTHON_PACKAGES = (
    "annotated-types 0.7.0", "anyio 4.4.0", "boto3 1.34.158", "certifi 2024.7.4", "charset-normalizer 3.3.2",
    "cloudevents 1.11.0", "fastapi 0.112.0", "h11 0.14.0", "httpcore 1.0.5", "httpx 0.27.0", "idna 3.7",
    "lxml 5.2.2", "numpy 2.0.1", "openpyxl 3.1.5", "pandas 2.2.2", "pydantic 2.8.2", "pydantic-core 2.20.1",
    "python-dateutil 2.9.0", "pytz 2024.1", "s3transfer 0.10.2", "sniffio 1.3.1", "starlette 0.37.2",
    "structlog 24.4.0", "typing-extensions 4.12.2", "urllib3 2.2.2", "uvicorn 0.30.5",
)  # fmt: skip
GO_MODULES = (
    "github.com/aws/aws-sdk-go-v2 v1.30.3", "github.com/cloudevents/sdk-go/v2 v2.15.2",
    "github.com/go-chi/chi/v5 v5.1.0", "github.com/google/uuid v1.6.0", "github.com/jackc/pgx/v5 v5.6.0",
    "github.com/json-iterator/go v1.1.12", "github.com/klauspost/compress v1.17.9",
    "github.com/prometheus/client_golang v1.19.1", "github.com/rabbitmq/amqp091-go v1.10.0",
    "github.com/rs/zerolog v1.33.0", "github.com/tidwall/gjson v1.17.3", "github.com/xuri/excelize/v2 v2.8.1",
    "go.opentelemetry.io/otel v1.28.0", "golang.org/x/net v0.28.0", "golang.org/x/sync v0.8.0",
    "golang.org/x/text v0.17.0", "google.golang.org/protobuf v1.34.2", "gopkg.in/yaml.v3 v3.0.1",
)  # fmt: skip
JAVA_ARTEFACTS = (
    "com/fasterxml/jackson/core/jackson-databind/2.17.2", "io/cloudevents/cloudevents-core/4.0.1",
    "io/micrometer/micrometer-core/1.13.2", "io/netty/netty-handler/4.1.112", "io/quarkus/quarkus-arc/3.13.0",
    "io/quarkus/quarkus-funqy-knative-events/3.13.0", "io/vertx/vertx-core/4.5.9",
    "org/apache/camel/camel-edi/4.7.0", "org/apache/commons/commons-csv/1.11.0",
    "org/apache/commons/commons-lang3/3.16.0", "org/jboss/logging/jboss-logging/3.6.0",
    "org/slf4j/slf4j-api/2.0.13", "software/amazon/awssdk/s3/2.27.3",
)  # fmt: skip


def _npm_ci(dice: random.Random) -> list[str]:
    count = dice.randint(180, 640)
    warned = dice.sample(("inflight@1.0.6", "glob@7.2.3", "rimraf@3.0.2", "har-validator@5.1.5"), 3)
    output = [f"npm warn deprecated {name}: This version is no longer supported" for name in warned]
    output += [f"npm http fetch GET 200 https://registry.npmjs.org/{_slug(p)} {dice.randint(40, 900)}ms"
               for p in NODE_PACKAGES]  # fmt: skip
    output += ["", f"added {count} packages, and audited {count + 1} packages in {dice.randint(6, 31)}s", ""]
    return [*output, f"{dice.randint(20, 90)} packages are looking for funding", "found 0 vulnerabilities"]


def _slug(package: str) -> str:
    name, _, version = package.partition(" ")
    return f"{name.replace('/', '%2f')} {version}"


def _npm_build(dice: random.Random) -> list[str]:
    modules = ["parser", "schema", "mapping", "validate", "handler", "lookup", "currency", "dates"]
    output = [
        "",
        "> parser@1.4.2 build",
        "> tsc -p tsconfig.build.json && esbuild src/handler.ts --bundle",
        "",
    ]
    output += [f"  dist/{name}.js  {dice.uniform(2, 90):.1f}kb" for name in modules]
    return [*output, "", f"Done in {dice.randint(300, 4200)}ms"]


def _pip_install(dice: random.Random) -> list[str]:
    output = []
    for package in PYTHON_PACKAGES:
        name, _, version = package.partition(" ")
        size = dice.uniform(20, 900)
        wheel = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        output += [f"Collecting {name}=={version}", f"  Downloading {wheel} ({size:.0f} kB)"]
    names = ", ".join(package.partition(" ")[0] for package in PYTHON_PACKAGES)
    installed = " ".join(package.replace(" ", "-") for package in PYTHON_PACKAGES)
    return [*output, f"Installing collected packages: {names}", f"Successfully installed {installed}"]


def _pytest(dice: random.Random) -> list[str]:
    names = ("test_amounts", "test_dates", "test_encoding", "test_headers", "test_mapping", "test_rejects")
    output = ["============================= test session starts =============================="]
    output += [f"tests/{name}.py {'.' * dice.randint(4, 30)}" for name in names]
    return [*output, f"{'=' * 30} {dice.randint(60, 190)} passed in {dice.uniform(1, 9):.2f}s {'=' * 30}"]


def _go_download(_: random.Random) -> list[str]:
    return [f"go: downloading {module}" for module in GO_MODULES]


def _go_build(_: random.Random) -> list[str]:
    packages = ("internal/codec", "internal/edifact", "internal/mapping", "internal/store", "cmd/parser")
    return [f"parser/{package}" for package in packages]


def _maven_resolve(dice: random.Random) -> list[str]:
    output = ["[INFO] Scanning for projects..."]
    for path in JAVA_ARTEFACTS:
        url = f"https://repo.maven.apache.org/maven2/{path}"
        output += [
            f"Downloading from central: {url}",
            f"Downloaded from central: {url} ({dice.randint(9, 800)} kB)",
        ]
    return [*output, "[INFO] BUILD SUCCESS"]


def _maven_package(dice: random.Random) -> list[str]:
    tests = ("AmountParserTest", "DateRangeTest", "EnvelopeTest", "MappingTest", "RejectReportTest")
    output = ["[INFO] --- compiler:3.13.0:compile (default-compile) @ parser ---"]
    output += [f"[INFO] Compiling {dice.randint(30, 140)} source files with javac [debug release 21]"]
    output += ["[INFO] --- surefire:3.3.1:test (default-test) @ parser ---"]
    for name in tests:
        count = dice.randint(3, 40)
        took = f"Time elapsed: {dice.uniform(0.01, 2):.3f} s"
        output += [f"[INFO] Running com.example.parser.{name}"]
        output += [f"[INFO] Tests run: {count}, Failures: 0, Errors: 0, Skipped: 0, {took}"]
    return [*output, "[INFO] Building jar: /src/target/parser-1.4.2.jar", "[INFO] BUILD SUCCESS"]


LANGUAGES = {
    "node": Language(
        "node:20-bookworm-slim", "gcr.io/distroless/nodejs20-debian12", "package.json package-lock.json ./",
        "npm ci", "npm run build", "/src/dist", _npm_ci, _npm_build,
    ),
    "python": Language(
        "python:3.12-slim", "python:3.12-slim", "requirements.txt ./",
        "pip install --no-cache-dir --prefix=/install -r requirements.txt", "python -m pytest -q tests",
        "/install", _pip_install, _pytest,
    ),
    "go": Language(
        "golang:1.22-bookworm", "gcr.io/distroless/static-debian12", "go.mod go.sum ./",
        "go mod download", "CGO_ENABLED=0 go build -v -o /out/parser ./cmd/parser", "/out/parser",
        _go_download, _go_build,
    ),
    "java": Language(
        "maven:3.9-eclipse-temurin-21", "eclipse-temurin:21-jre", "pom.xml ./",
        "mvn -B dependency:go-offline", "mvn -B package", "/src/target/parser-1.4.2.jar",
        _maven_resolve, _maven_package,
    ),
}  # fmt: skip

_PIP_COMPLAINT = "ERROR: Could not find a version that satisfies the requirement edi-tools==3.9.1"
_GO_UNKNOWN = "git.example.com/platform/edifact"
FAILED_COMMAND = (
    "error building image: error building stage: failed to execute command: "
    "waiting for process to exit: exit status 1"
)


def _npm_conflict(_: random.Random) -> list[str]:
    return [
        "npm error code ERESOLVE",
        "npm error ERESOLVE could not resolve",
        "npm error",
        "npm error While resolving: parser@1.4.2",
        "npm error Found: zod@3.23.8",
        "npm error node_modules/zod",
        'npm error   zod@"^3.23.0" from the root project',
        "npm error",
        "npm error Could not resolve dependency:",
        'npm error peer zod@"^2.0.0" from fastify-type-provider@1.1.9',
        "npm error Fix the upstream dependency conflict, or retry this command with --force",
        FAILED_COMMAND,
    ]


def _npm_types(_: random.Random) -> list[str]:
    return [
        "",
        "> parser@1.4.2 build",
        "> tsc -p tsconfig.build.json",
        "",
        "src/mapping.ts(48,17): error TS2339: Property 'unitPrice' does not exist on type 'OrderLine'.",
        "src/mapping.ts(61,5): error TS2322: Type 'string | undefined' is not assignable to type 'string'.",
        "npm error Lifecycle script `build` failed with error:",
        "npm error code 2",
        FAILED_COMMAND.replace("status 1", "status 2"),
    ]


def _pip_no_version(_: random.Random) -> list[str]:
    return [
        *(f"Collecting {package.replace(' ', '==')}" for package in PYTHON_PACKAGES[:9]),
        f"{_PIP_COMPLAINT} (from versions: 3.6.0, 3.7.2, 3.8.0, 3.8.1)",
        "ERROR: No matching distribution found for edi-tools==3.9.1",
        FAILED_COMMAND,
    ]


def _pytest_failure(dice: random.Random) -> list[str]:
    return [
        *_pytest(dice)[:-1],
        "=================================== FAILURES ===================================",
        "________________________ test_reject_report_keeps_order ________________________",
        ">       assert [r.line for r in report] == [3, 7, 12]",
        "E       assert [3, 12, 7] == [3, 7, 12]",
        "tests/test_rejects.py:41: AssertionError",
        "FAILED tests/test_rejects.py::test_reject_report_keeps_order",
        f"{'=' * 25} 1 failed, {dice.randint(40, 90)} passed in {dice.uniform(1, 9):.2f}s {'=' * 25}",
        FAILED_COMMAND,
    ]


def _go_compile(dice: random.Random) -> list[str]:
    return [
        *_go_build(dice)[:3],
        "# parser/internal/mapping",
        "internal/mapping/order.go:57:19: line.UnitPrice undefined (type codec.Line has no field UnitPrice)",
        "internal/mapping/order.go:83:9: undefined: currency.ParseMinor",
        FAILED_COMMAND,
    ]


def _go_module(dice: random.Random) -> list[str]:
    return [
        *_go_download(dice)[:11],
        f"go: {_GO_UNKNOWN}@v0.9.4: reading {_GO_UNKNOWN}/go.mod at revision v0.9.4: unknown revision v0.9.4",
        FAILED_COMMAND,
    ]


def _maven_compile(dice: random.Random) -> list[str]:
    return [
        *_maven_package(dice)[:2],
        "[ERROR] COMPILATION ERROR :",
        "[ERROR] /src/src/main/java/com/example/parser/Mapping.java:[112,31] cannot find symbol",
        "[ERROR]   symbol:   method unitPrice()",
        "[ERROR]   location: variable line of type com.example.parser.OrderLine",
        "[INFO] BUILD FAILURE",
        "[ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin:3.13.0:compile",
        FAILED_COMMAND,
    ]


# Where a build of a language fails: in which step, and with which output.
FAILURES: dict[str, tuple[str, Callable[[random.Random], list[str]]]] = {
    "node/dependencies": ("install", _npm_conflict),
    "node/types": ("build", _npm_types),
    "python/dependencies": ("install", _pip_no_version),
    "python/tests": ("build", _pytest_failure),
    "go/dependencies": ("install", _go_module),
    "go/compile": ("build", _go_compile),
    "java/compile": ("build", _maven_compile),
}
