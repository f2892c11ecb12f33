"""Who may do what: users, API keys, logins, the identity provider."""
