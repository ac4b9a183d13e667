"""A Kinto plugin that says, like kinto-attachment, that attachments can be uploaded."""


def includeme(config):
    config.add_api_capability("attachments", description="Files.", url="https://example.org")
