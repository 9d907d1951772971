//! Nothing but a place for the tests in `e2e`: whole programs and golden parity.
