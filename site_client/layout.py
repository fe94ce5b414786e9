"""What lies where in a hospital's folder, by name below it. It imports nothing, so that commands name it at no cost.

One thing lies outside: the file that the variable `PASSPHRASE` names.
"""

DIRECTORY = "site"  # the folder itself, below the working directory
FEDERATION_FILE = "federation.toml"
AUTHORITY = "ca.pem"  # public: the certificate of the federation's authority
IDENTITY = "private/identity.pem"  # private key, certificate and authority in one file, replaced as one
CERTIFICATES = "site.crt"  # public: every certificate that the site has had, newest first; old signatures need old ones
NODE_KEY = "private/node.key"  # for flower-supernode --auth-supernode-private-key
PENDING_KEY = "private/pending.key"  # of the certificate that was asked for
PENDING = "pending.request"  # the request that waits for its admission
RUN = "run"  # what runs: lock, states, logs, sockets; nothing in it is worth a backup
WORKER_SOCKET = f"{RUN}/worker.sock"
MAX_SOCKET_PATH = 107  # bytes: what Linux takes as the path of a Unix socket
PROGRESS = f"{RUN}/worker.json"  # what the worker does just now
CONNECTION = f"{RUN}/connection.json"  # how the connection does
VAULT, VAULT_KEY = "vault", "private/vault.key"
PASSPHRASE = "FEDSURG_VAULT_PASSPHRASE_FILE"  # environment variable: a file outside, for programs that nobody types to
