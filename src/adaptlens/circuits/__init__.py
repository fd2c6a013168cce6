"""What patched runs say of circuits: profiles, distances, transfer, nulls."""
