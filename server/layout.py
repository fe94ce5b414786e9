"""What lies where in the coordinator's folder, by name below it. It imports nothing, as commands name it at no cost."""

DIRECTORY = "coordinator"  # the folder itself, below the working directory
FEDERATION_FILE = "federation.toml"
AUTHORITY = "ca.pem"  # public: the authority's certificate
AUTHORITY_KEY = "private/ca.key"
GATEWAY = "private/gateway.pem"  # private key, certificate and authority in one file, replaced as one
GATEWAY_CERTIFICATES = "server.crt"  # public: every certificate that the gateway has had, newest first
REVOKED = "crl.pem"
SITES = "sites"
RUN = "run"  # of the running processes: mode 700
RUNS = "runs"  # one folder per study
CACHE = "cache"  # rendered video
LOG = "coordinator"  # name of the audit log, under which hospitals keep its heads

DEFAULT_PORT = 9443  # free of privileges, and not one of Flower's
