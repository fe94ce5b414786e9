"""`fedsurg server audit`: the coordinator's audit log."""

from fedsurg.audit.cli import audit_group

DIRECTORY = "coordinator"
CERTIFICATE = "server.crt"

audit = audit_group("server", DIRECTORY, CERTIFICATE)
