//! Wiring: one file per kind (observe, decide, act, report).
