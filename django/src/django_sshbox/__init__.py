"""Tells sshbox which SSH keys belong to a user of this site."""
