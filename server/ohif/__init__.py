"""The OHIF viewer: found where it is installed, served with our own configuration."""
