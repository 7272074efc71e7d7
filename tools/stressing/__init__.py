"""Attacks, the honest clients beside them, the broker that tells how long it worked."""
