"""Parity as tests of pytest: `def test_parity(parity_case, parity): parity.check(parity_case)`."""
