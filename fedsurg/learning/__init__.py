"""Learning on one machine: losses, the local training loop, synthetic pre-training and SERQ."""
