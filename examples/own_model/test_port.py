"""The port, held against the reference: one test for each case, cell and mode."""


def test_parity(parity_case, parity):
    parity.check(parity_case)
