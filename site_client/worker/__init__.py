"""The site worker: one long-lived process per hospital that holds data, model and private state, and keeps the policy.

cli, server   the process: socket, lock, signals
service       gRPC: messages of `worker.proto` in and out
desk          one request at a time; who waits, what is in hand, how it is stopped
answering     one request's way: heads of the audit logs, policy, engine
engines       site engines of approved studies, kept warm
progress      what is done just now, in a file and for whoever asks
"""
