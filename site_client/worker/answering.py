"""One request's way through a hospital: the coordinator's head is kept, the policy decides, the engine works."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fedsurg.audit.heads import keep_head, sign_head
from fedsurg.audit.log import AuditLog
from fedsurg.errors import AuditError, FedsurgError
from fedsurg.joining.certificates import read_certificate
from site_client.bundle.records import Answered, Asked
from site_client.engine import Watch
from site_client.policy import Policy
from site_client.site_folder import Identity, read_identity, read_membership
from site_client.worker.engines import ApprovedWork, Engines

COORDINATOR = "coordinator"  # name of the log at the other end


class Answering:
    """Answers requests, one after the other.

    Args:
        folder: of the site.
        log: its audit log.
        engines: of its approved studies.
    """

    def __init__(self, folder: Path, log: AuditLog, engines: Engines) -> None:
        self._folder, self._log, self._engines = folder, log, engines
        self.policy = Policy(folder, log)

    def __call__(self, asked: Asked, watch: Watch) -> Answered:
        """Answer one request.

        1. The site is what its certificate says: with its key the head of its log is signed, at the end.
        2. The coordinator's head is there, is signed by a key that the federation's authority certified, and does
           not contradict those before it; it becomes a line of the site's log.
        3. The policy checks the request, the engine works, the policy releases the answer.

        Raises:
            FedsurgError: nothing leaves; the audit log says why.
        """
        try:
            site, identity = self._introduced(asked)
        except FedsurgError as problem:
            self.policy.refuse(str(problem), asked.request)
            raise
        # 3.
        worker = ApprovedWork(self._engines, asked.request.study, watch)
        packed, report = self.policy.answer(worker, asked.request, asked.packed)
        return Answered(site, packed, report, sign_head(self._log, site, identity.key))

    def _introduced(self, asked: Asked) -> tuple[str, Identity]:
        # 1.
        site = read_membership(self._folder).site
        identity = read_identity(self._folder, site, datetime.now(UTC))
        # 2.
        if not asked.head:
            raise AuditError("the request came without a head of the coordinator's audit log; nothing was done for it")
        keep_head(self._log, asked.head, COORDINATOR, [_certified(asked.certificate, identity)])
        return site, identity


def _certified(pem: str, identity: Identity) -> x509.Certificate:
    """The certificate that came with a head.

    Raises:
        AuditError: the federation's authority did not issue it, or issued it to a site.
    """
    try:
        found = read_certificate(pem, "the certificate beside the coordinator's head")
        found.verify_directly_issued_by(identity.authority)
        purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except Exception as problem:  # the library raises five kinds
        raise AuditError(
            f"the certificate beside the coordinator's head is not of this federation ({type(problem).__name__}); "
            "nothing was done for its request"
        ) from problem
    if x509.oid.ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        raise AuditError("the coordinator's head is signed by a site; nothing was done for its request")
    return found
