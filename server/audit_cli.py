"""`fedsurg server audit`: the coordinator's audit log."""

from fedsurg.cli.audit import audit_group
from server.layout import DIRECTORY, GATEWAY_CERTIFICATES

audit = audit_group("server", DIRECTORY, GATEWAY_CERTIFICATES)
