"""What the Makefile calls: storing chapters, generating pages, the scaffold. Not part of the installed package."""
