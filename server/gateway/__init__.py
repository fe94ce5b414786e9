"""The gateway: the coordinator's one public port. It knows who is there, and passes on what is theirs to ask.

door         TCP and mutual TLS: who gets a connection
members      which site a certificate stands for, now
claims       what a request says about its author
limits       how much a site may ask for
app          the steps of one request, in order
notices      what goes to standard error and to the audit log
metrics      what Prometheus reads
"""
