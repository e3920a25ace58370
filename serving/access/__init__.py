"""Who may call what: certificates, identities, their roles, and where they are checked."""
