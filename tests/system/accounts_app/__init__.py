"""A site that kept SSH keys and made containers before it met sshbox."""
