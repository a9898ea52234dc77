"""One file a dtype policy; each defines `POLICY`."""
