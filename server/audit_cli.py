"""`fedsurg server audit`: the coordinator's audit log."""

from fedsurg.audit.cli import audit_group

DIRECTORY = "coordinator"
CERTIFICATE = "private/gateway.pem"

audit = audit_group("server", DIRECTORY, CERTIFICATE)
