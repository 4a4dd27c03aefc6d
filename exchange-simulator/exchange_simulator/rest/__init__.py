"""The HTTP side: REST, archive files and control."""
