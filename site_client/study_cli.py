"""`fedsurg site`: what a hospital decides about studies, and what it keeps of them."""

from fedsurg.audit.cli import audit_group

DIRECTORY = "site"  # of the hospital's own files, below the working directory
CERTIFICATE = "site.crt"

audit = audit_group("site", DIRECTORY, CERTIFICATE)
