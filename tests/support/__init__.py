"""What the tests share: a throw-away PostgreSQL, live Kinto servers, WebTest applications, keys, campaigns."""
