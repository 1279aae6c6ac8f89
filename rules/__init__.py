"""The rules that come with lockcheck. Installed as the package lockcheck_rules."""
