"""A Kinto plugin for a control: takes the lock away that keeps two publications of one collection apart."""

from kinto_signer.authority.stored import StoredStates


def includeme(config):
    StoredStates.lock = lambda *arguments: None
