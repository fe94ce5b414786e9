"""Joining a federation by files: the three files that both ends exchange, keys, certificates, private folders.

    invitation   coordinator -> hospital   address, authority, a token that works once
    request      hospital -> coordinator   public keys, proofs that the private ones and the token are there
    admission    coordinator -> hospital   the certificate

Pure files and cryptography: no network, no Flower.
"""
