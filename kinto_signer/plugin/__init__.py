"""What the Pyramid plugins share: the settings table, the repository on Kinto's storage, rollback on memory."""
